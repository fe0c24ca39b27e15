"""The package's entry points for a machine where it is not installed.

vLLM's engine is a process of its own and learns the model through the entry point
`vllm.general_plugins`. Where the package only lies on PYTHONPATH, a folder with nothing but its
metadata does the same.
"""

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "vllm.general_plugins"
PROJECT = Path(__file__).parents[2]


def make_plugin_known(directory: Path) -> bool:
    """Write the metadata under `directory` and put that on PYTHONPATH, unless it is installed.

    Processes started from now on see it. Returns whether anything had to be done.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted: dict[str, str] = project["entry-points"][GROUP]
    if {entry.name for entry in entry_points(group=GROUP)} >= set(wanted):
        return False
    name, version = project["name"], project["version"]
    folder = directory / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"[{GROUP}]", *(f"{key} = {value}" for key, value in wanted.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    prepend_to_pythonpath(directory)
    return True


def prepend_to_pythonpath(directory: Path) -> None:
    """Let processes started from now on import from `directory`."""
    rest = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(directory) + (os.pathsep + rest if rest else "")
