"""sphinx: two processes read and write the pages of a book."""

import re
import sys
from pathlib import Path

from sphinx.cmd.build import main

PAGES = 12


def write_book(folder):
    folder.mkdir()
    names = [f"page{number}" for number in range(PAGES)]
    for name in names:
        (folder / f"{name}.rst").write_text(f"{name}\n======\n\nSee :doc:`index`.\n")
    (folder / "page3.rst").write_text("page3\n=====\n\nSee :doc:`nothing`.\n")
    lines = ["Book", "====", "", ".. toctree::", "", *(f"   {name}" for name in names)]
    (folder / "index.rst").write_text("\n".join(lines) + "\n")
    (folder / "conf.py").write_text("project = 'book'\n")


def texts(folder):
    for page in sorted(folder.glob("*.html")):
        yield page.name, len(re.sub(r"<[^>]*>|\s+", "", page.read_text()))


if __name__ == "__main__":
    write_book(Path("book"))
    status = main(["-q", "-j", "2", "-b", "html", "book", "made"])
    print(status, *texts(Path("made")), sep="\n")
    sys.exit(main(["-q", "-E", "-W", "-j", "2", "-b", "html", "book", "made"]))
