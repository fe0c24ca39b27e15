"""Pack what users of a GPU install for a host that reaches no package index.

    python -m tests.benchmarks.gpu_host.pack DEST [REQUIREMENT ...]

puts what `requirements/gpu.txt` locks, torch and the tests' packages (`requirements.py` beside
this says which, and what is left out) as CPython 3.12 x86-64 Linux packages into parts of at most
58 MB: DEST/0/part-0, DEST/1/part-1, ... DEST/0 also has `unpack.sh`, which makes a virtual
environment of them on the host, and the `zstd` that it calls. Device code of other GPUs than
Hopper's is cleared. Needs pip, zstd and strip; takes four minutes on two cores.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.gpu_host import requirements
from tests.benchmarks.gpu_host.device_code import keep_architecture

HOPPER = 90  # compute capability 9.0
PART_BYTES = 58_000_000  # a transfer to the host may take 64 MiB
LEVEL = 9  # of zstd: 12 takes twice as long and saves 2 %
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in range(39, 4, -1)]
PLATFORMS += [f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")]
SITE = Path("lib/python3.12/site-packages")
DEBUG_SYMBOLS = "triton/_C/libtriton.so"  # more than half of it
# FlashAttention 3 serves Hopper; the rest is for other GPUs, other models or other programs.
UNUSED = [
    "vllm/vllm_flash_attn/_vllm_fa2_C.abi3.so",
    "vllm/third_party/fmha_sm100",
    "vllm/_qutlass_C.abi3.so",
    "vllm/vllm-rs",
    "onnxruntime/capi/libonnxruntime_providers_cuda.so",  # voices are prepared on the CPU
    "onnxruntime/capi/libonnxruntime_providers_tensorrt.so",
    "triton/backends/nvidia/bin/ptxas-blackwell",
    "triton/backends/nvidia/lib/cupti",
    "triton/instrumentation",
    "ray/jars",
    "pycountry/locales",
]


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    dest = Path(sys.argv[1])
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=dest.absolute()) as scratch:
        environment = Path(scratch)
        install(environment / SITE, sys.argv[2:])
        drop_unused(environment / SITE)
        parts = write_parts(environment, dest)
    shutil.copy2(Path(__file__).with_name("unpack.sh"), dest / "0")
    shutil.copy2(str(shutil.which("zstd")), dest / "0" / "zstd")
    print(f"{parts} parts under {dest}")


def install(site: Path, more: list[str]) -> None:
    """Fill the folder `site` with packages for the host."""
    torch_wheel = download_torch(site.parent)
    wanted = [*requirements.packed(), *requirements.brought_by(torch_wheel), *more]
    # pip would compare with its own Python what a package requires, not with the host's.
    options = ["--no-compile", "--ignore-requires-python", "--target", str(site)]
    pip("install", *options, str(torch_wheel), *wanted)
    torch_wheel.unlink()


def download_torch(folder: Path) -> Path:
    pip("download", "-d", str(folder), requirements.torch())
    (wheel,) = folder.glob("torch-*.whl")
    return wheel


def pip(*arguments: str) -> None:
    """Run pip as on the host; nothing is resolved."""
    command = [sys.executable, "-m", "pip", arguments[0], "-q", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, *arguments[1:]], check=True)


def drop_unused(site: Path) -> None:
    """What a Hopper GPU never loads: files, debug symbols, device code."""
    for name in UNUSED:
        path = site / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    subprocess.run(["strip", "--strip-debug", str(site / DEBUG_SYMBOLS)], check=True)
    cleared = sum(keep_architecture(library, HOPPER) for library in libraries(site))
    print(f"{cleared / 1e6:.0f} MB of other GPUs' device code cleared")


def libraries(site: Path) -> list[Path]:
    files = (p for p in site.rglob("*.so*") if p.is_file() and not p.is_symlink())
    return [path for path in files if path.stat().st_size]


def write_parts(environment: Path, dest: Path) -> int:
    """Pack the folder `environment`; returns how many parts it took."""
    tar = subprocess.Popen(["tar", "-C", environment, "-cf", "-", "."], stdout=subprocess.PIPE)
    threads = f"-T{os.cpu_count()}"
    command = ["zstd", threads, f"-{LEVEL}", "--long=27", "-q", "-c"]
    packed = subprocess.Popen(command, stdin=tar.stdout, stdout=subprocess.PIPE)
    assert packed.stdout is not None
    number = 0
    while block := packed.stdout.read(PART_BYTES):
        (dest / str(number)).mkdir(parents=True)
        (dest / str(number) / f"part-{number}").write_bytes(block)
        number += 1
    if tar.wait() or packed.wait():
        raise SystemExit("packing failed")
    return number


if __name__ == "__main__":
    main()
