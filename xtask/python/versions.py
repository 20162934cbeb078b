"""Asserts that the installed packages are exactly those of requirements.txt."""

from importlib.metadata import version
from pathlib import Path


def check():
    """Raises AssertionError unless every pinned package has its pinned version (a local tag like +cpu is ignored)."""
    for line in (Path(__file__).parent / "requirements.txt").read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, want = line.split("==")
            have = version(name).split("+")[0]
            assert have == want, f"{name}: {have} is installed, requirements.txt pins {want}"


def installed():
    """The pinned versions as a dictionary, for provenance records."""
    check()
    return {
        p[0]: p[1]
        for p in (
            line.split("==")
            for line in (Path(__file__).parent / "requirements.txt").read_text().splitlines()
            if "==" in line and not line.startswith("#")
        )
    }
