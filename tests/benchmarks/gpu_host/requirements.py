"""What is packed: the lock of a GPU, torch with what it brings, and what tests need."""

import zipfile
from collections.abc import Iterable
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.requirements import Requirement

LOCKS = Path(__file__).parents[3] / "requirements"
# The host, for the markers of requirements. A patch version of 3.12 decides none of them.
TARGET = {
    "python_version": "3.12",
    "python_full_version": "3.12.3",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "sys_platform": "linux",
    "os_name": "posix",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
}
# Of the packages that `pip install torch` brings: those that the lock lacks and the host has in no
# version that would do. torch refuses an older cuDNN than its own and calls functions that an
# older NCCL lacks; the CUDA toolkit, cuSPARSELt and NVSHMEM are the host's.
FROM_TORCH = {"triton", "nvidia-cudnn-cu13", "nvidia-nccl-cu13", "sympy", "networkx"}
BESIDE_TORCH = ("mpmath",)  # sympy's
TESTS = {"pytest", "pytest-asyncio", "pytest-timeout", "iniconfig", "pluggy"}
# Nothing imports these when Step-Audio 2 is served on a Hopper GPU; together half a gigabyte.
UNUSED = {
    "instanttensor",  # a load format
    "llvmlite",  # numba's
    "numba",  # speculation by n-grams
    "nvidia-cuda-cccl",  # tilelang's, like the four after it; FlashInfer has a copy of its own
    "nvidia-cuda-crt",
    "nvidia-cuda-nvcc",  # FlashInfer calls the host's
    "nvidia-cuda-nvdisasm",
    "nvidia-nvvm",
    "nvidia-cutlass-dsl-libs-cu12",  # of CUDA 12
    "pynvvideocodec",
    "tilelang",  # kernels of other models, like the next two
    "tokenspeed-mla",
    "tokenspeed-triton",
    "z3-solver",  # tilelang's
}


def packed() -> list[str]:
    """Of `requirements/gpu.txt` and of the tests, as the host's markers choose them."""
    lock = [one for one in pins("gpu.txt") if one.name not in UNUSED]
    tests = [one for one in pins("cpu-dev.txt") if one.name in TESTS]
    return _chosen([*lock, *tests])


def torch() -> str:
    """The one version of torch that the locks go with."""
    (pin,) = pins("torch.txt")
    return str(pin)


def brought_by(torch_wheel: Path) -> list[str]:
    """What is packed of the packages that a wheel of torch asks for, in its own versions."""
    with zipfile.ZipFile(torch_wheel) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = BytesHeaderParser().parsebytes(wheel.read(name))
    wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist", ())]
    return [*_chosen(one for one in wanted if one.name in FROM_TORCH), *BESIDE_TORCH]


def pins(lock: str) -> list[Requirement]:
    """The lines of a lock."""
    lines = (LOCKS / lock).read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def _chosen(requirements: Iterable[Requirement]) -> list[str]:
    """Those whose markers hold on the host, without the markers."""
    return [
        f"{one.name}{one.specifier}"
        for one in requirements
        if one.marker is None or one.marker.evaluate(TARGET)
    ]
