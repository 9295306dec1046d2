import unittest


class Test(unittest.TestCase):
    def test_what_holds(self):
        self.assertEqual(1 + 1, 2)

    def test_nothing(self):
        pass
