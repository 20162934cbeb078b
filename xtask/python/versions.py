"""Asserts that the installed packages are exactly those of requirements.txt, or of another such file beside it.

With PEFT_ANY_VERSIONS set in the environment whatever is installed will do: for a machine whose packages are not ours to choose.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def pins(file="requirements.txt"):
    """The pinned versions by package."""
    lines = (line.split("#")[0].strip() for line in (Path(__file__).parent / file).read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


def check(file="requirements.txt"):
    """Raises AssertionError unless every pinned package has its pinned version (a local tag like +cpu is ignored)."""
    if "PEFT_ANY_VERSIONS" in os.environ:
        return
    for name, want in pins(file).items():
        found = have(name)
        assert found == want, f"{name}: {found or 'nothing'} is installed, {file} pins {want}"


def installed():
    """The installed versions of the pinned packages, for provenance records."""
    check()
    return {name: found for name in pins() if (found := have(name)) is not None}


def have(name):
    """The installed version of a package without its local tag; None where it is not installed."""
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return None
