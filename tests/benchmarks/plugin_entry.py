"""Entry points of vLLM's plugins for the processes of a measurement.

vLLM's engine is a process of its own and learns the model through the entry point
`vllm.general_plugins`; so it does the weights that speak (`tests/benchmarks/speaking_weights.py`).
A folder with nothing but a package's metadata on PYTHONPATH is enough, also where the project
itself is not installed.
"""

import os
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "vllm.general_plugins"
PROJECT = Path(__file__).parents[2]
NAME, VERSION = "step-audio2-graph-benchmark", "0"
OURS = {"step_audio2_speaking_weights": "tests.benchmarks.speaking_weights:register"}


def make_plugins_known(directory: Path) -> None:
    """Write the metadata under `directory` and put that and the project on PYTHONPATH.

    Processes started from now on see our plugins, and the project's if it is not installed.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    served: dict[str, str] = project["entry-points"][GROUP]
    installed = {entry.name for entry in entry_points(group=GROUP)}
    plugins = OURS | {name: what for name, what in served.items() if name not in installed}
    folder = directory / f"{NAME.replace('-', '_')}-{VERSION}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
    lines = [f"[{GROUP}]", *(f"{key} = {value}" for key, value in plugins.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    rest = os.environ.get("PYTHONPATH")
    paths = [str(directory), str(PROJECT), *([rest] if rest else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
