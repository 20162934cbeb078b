"""Asserts that the installed packages are exactly those of requirements.txt, or of another such file beside it."""

from importlib.metadata import version
from pathlib import Path


def pins(file="requirements.txt"):
    """The pinned versions by package."""
    lines = (line.split("#")[0].strip() for line in (Path(__file__).parent / file).read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def check(file="requirements.txt"):
    """Raises AssertionError unless every pinned package has its pinned version (a local tag like +cpu is ignored)."""
    for name, want in pins(file).items():
        have = version(name).split("+")[0]
        assert have == want, f"{name}: {have} is installed, {file} pins {want}"


def installed():
    """The pinned versions, which are also the installed ones, for provenance records."""
    check()
    return pins()
