"""The README shows programs that run: they are the examples named hello."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("language", "example"), [("python", "python/hello.py"), ("c", "c/hello.c")]
)
def test_the_readme_shows_the_example(language: str, example: str) -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)
    assert (ROOT / "examples" / example).read_text() in blocks
