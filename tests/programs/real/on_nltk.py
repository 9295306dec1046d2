"""nltk: parallelize_preprocess, which is joblib's Parallel."""

from nltk.util import parallelize_preprocess


def upper(word):
    return word.upper()


if __name__ == "__main__":
    print(list(parallelize_preprocess(upper, ["a", "b", "c"] * 5, processes=2)))
