"""Two processes talk through a pipe that is memory while both are awake.

The child counts the letters of what it is sent, and ends when it is told so by the end of the
stream: all copies of the parent's end are closed. Messages may have any size. examples/c/pipe.c
does the same. This is a plain multiprocessing program.
"""

from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection


def count(end: Connection, parents: Connection) -> None:
    """The child; parents is the copy of a fork, with which the end of the stream never came."""
    parents.close()
    try:
        while True:
            text = end.recv_bytes()
            end.send(len([byte for byte in text if chr(byte).isalpha()]))
    except EOFError:
        pass


def ask(end: Connection, text: bytes) -> None:
    """Has the child count the letters of a text."""
    end.send_bytes(text)
    print(f"{end.recv()} of {len(text)} are letters")


def main() -> None:
    """Asks for three texts."""
    end, childs = Pipe()
    child = Process(target=count, args=(childs, end))
    child.start()
    childs.close()
    for text in (b"hello, child", b"", b"x" * 50000):
        ask(end, text)
    end.close()
    child.join()
    print(f"the child ended with {child.exitcode}")


if __name__ == "__main__":
    main()
