"""Usage: comments.py HEADER

Prints a header with its comments marked as Doxygen knows them, for INPUT_FILTER. A line such as
`/* ----- queue */` begins a group, which ends where the next one begins. A comment behind a member
belongs to it. Any other comment belongs to the declarations that follow it without an empty line
in between, and is repeated for each of them. The members of a struct of which all is private are
left out. Lines keep their numbers.
"""

import re
import sys
from collections.abc import Iterator

ROOM = re.compile(r"/\* -{8,} (.+) \*/")
PART = re.compile(r"/\* -{2,}")
BEHIND = re.compile(r"(\S.*[;,{] *|^ +MPROC_\w+ +)/\* ")
DECLARES = re.compile(r"MPROC_API |#define MPROC_[A-Z]")


def marked(lines: list[str]) -> Iterator[str]:
    """The lines as Doxygen wants them."""
    open_group = False
    comment: list[str] = []  # the last one, a line each
    inside = False  # the comment goes on
    fresh = False  # the comment is the line above
    private = False  # the line is in a struct of which all is private
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if room := ROOM.fullmatch(line):
            name = room[1].replace(" ", "-")
            end = "/** @} */ " if open_group else ""
            yield f"{end}/** @defgroup mproc-{name} {room[1]} */ /** @{{ */"
            open_group = True
            comment = []
            continue
        if line.startswith("#ifdef __cplusplus") and open_group:
            yield f"/** @}} */ {line}"
            open_group = False
            continue
        text = line
        if inside or line.startswith("/* ") or line == "/*":
            if not inside:
                comment = []
            comment.append(line.strip().removeprefix("/*").removesuffix("*/").strip(" *"))
            inside = not line.endswith("*/")
            fresh = not inside
            if PART.match(line):
                comment = []
            elif len(comment) == 1:
                text = "/**" + line[2:]
        else:
            if not line:
                comment = []
            elif DECLARES.match(line) and comment and not fresh:
                text = f"/** {' '.join(comment)} */ {line}"
            if not private and line.endswith(" {") and "All of it is private." in comment:
                text, private = f"{line} /** @cond */", True
            elif following.startswith("}") and private:
                text, private = f"{line} /** @endcond */", False
            fresh = False
            text = BEHIND.sub(r"\1/**< ", text, count=1) if text == line else text
            text = re.sub(r"^( +)/\*(?!\*)", r"\1/**", text)
        yield text


def main() -> None:
    with open(sys.argv[1]) as header:
        for line in marked(header.read().splitlines()):
            print(line)


main()
