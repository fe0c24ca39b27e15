"""The fixtures that several files of nano's tests share."""

from tests.unit.nano.chirps import chirp_codes, chirps, examples, model
from tests.unit.nano.melodies import flow, melodies, partners, prepared, recordings

__all__ = [
    "chirp_codes",
    "chirps",
    "examples",
    "flow",
    "melodies",
    "model",
    "partners",
    "prepared",
    "recordings",
]
