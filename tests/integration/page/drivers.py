"""What drives the browsers, if it is installed; `make browsers` installs it."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

FOLDER = Path(os.environ.get("BROWSERS", ROOT / ".venv-browsers"))
REQUIRED = os.environ.get("REQUIRE_BROWSERS") == "1"
AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"

sys.path.append(str(FOLDER / "python"))  # behind the environment's own


def missing(what: str) -> None:
    """Skip the test for lack of `what`, or fail it where browsers are required."""
    reason = f"{what} is missing: `make browsers` tries the page in browsers"
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


def program(*names: str) -> str:
    """The path of the first of these programs that is installed."""
    for name in names:
        if path := shutil.which(name):
            return path
    missing(f"the program {' or '.join(names)}")
    raise AssertionError


slow = pytest.mark.usefixtures("thorough")  # for `make browsers`, and not for `make test`
