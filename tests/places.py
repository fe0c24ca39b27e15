"""Where the project's own files lie."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
NANO = CONFIGS / "nano"
"""The small trained checkpoint that `configs/cpu.yaml` serves."""
