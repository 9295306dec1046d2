"""How Sphinx makes the manual of the chapters in this directory; scripts/docs.sh runs it."""

import os
import re
from pathlib import Path

from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[1]

project = "mproc"
author = "the authors of mproc"
version = release = re.search(r"version: '(.*)'", (ROOT / "meson.build").read_text())[1]

extensions = ["breathe", "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["requirements.txt"]
html_theme = "furo"
html_title = f"mproc {version}"
html_show_copyright = False
nitpicky = False

# The chapters are Markdown that is read as it is, too. Their links to files of the source become
# links to copies.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Doxygen has read the public header before (Doxyfile).
breathe_projects = {"mproc": os.environ.get("MPROC_DOXYGEN_XML", "")}
breathe_default_project = "mproc"
breathe_domain_by_extension = {"h": "c"}
primary_domain = "c"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

man_pages = [
    ("api_c", "mproc", "processes, pools, queues, locks and shared memory for C", [author], 3),
]


def plain(app, what, name, obj, options, lines):
    """Docstrings are plain text: `func(*args)` begins no emphasis. No public name lacks one."""
    if not "".join(lines).strip() and what != "attribute":
        LOGGER.warning("%s %s has no docstring", what, name)
    lines[:] = [re.sub(r"\*(?=\*?[A-Za-z_])", r"\\*", line) for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", plain)
