"""The page's modules by themselves, in Node: `modules/*.test.js` hold the tests."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "modules"
STATIC = Path("serve_app/http/talk_page/static")
NODE = shutil.which("node")
OLDEST_NODE = 20


def node_version() -> int:
    if NODE is None:
        return 0
    said = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])


@pytest.mark.skipif(node_version() < OLDEST_NODE, reason=f"needs Node {OLDEST_NODE} or newer")
def test_the_page_s_modules_pass_their_own_tests(tmp_path: Path) -> None:
    shutil.copytree(STATIC, tmp_path / "page")
    shutil.copytree(TESTS, tmp_path / "tests")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    files = sorted(file.name for file in TESTS.glob("*.test.js"))
    every = tmp_path / "every.js"  # in one process, which starts once
    every.write_text("".join(f'import "./tests/{name}";\n' for name in files))
    assert NODE is not None
    ran = subprocess.run([NODE, str(every)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"^# pass (\d+)$", ran.stdout, re.MULTILINE)
    assert passed is not None and int(passed[1]) >= len(files) > 0, ran.stdout
