"""What is packed for a GPU host, and the device code that is cleared."""

import struct
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

from tests.benchmarks.gpu_host import requirements
from tests.benchmarks.gpu_host.device_code import CUBIN, MAGIC, PTX, keep_architecture

HEADER_BYTES = 64
CODE = bytes(range(1, 9)) * 4


def entry(kind: int, architecture: int) -> bytes:
    head = struct.pack("<HHIQ", kind, 0x101, HEADER_BYTES, len(CODE))
    head = head.ljust(28, b"\7") + struct.pack("<I", architecture)
    return head.ljust(HEADER_BYTES, b"\7") + CODE


def container(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return MAGIC + struct.pack("<HHQ", 1, 16, len(body)) + body


def cleared(data: bytes, tmp_path: Path) -> tuple[bytes, int]:
    library = tmp_path / "library.so"
    library.write_bytes(data)
    count = keep_architecture(library, 90)
    return library.read_bytes(), count


def test_machine_code_of_the_gpu_stays_and_all_other_code_becomes_zeros(tmp_path):
    others = [entry(CUBIN, 80), entry(CUBIN, 100), entry(PTX, 80)]
    data = b"before" + container(others[0], entry(CUBIN, 90), *others[1:]) + b"after"
    after, count = cleared(data, tmp_path)
    assert count == 3 * len(CODE)
    assert after.startswith(b"before")
    assert after.endswith(b"after")
    assert after.count(CODE) == 1
    assert entry(CUBIN, 90) in after
    for other in others:
        assert other[:HEADER_BYTES] + bytes(len(CODE)) in after  # the header says what it was


def test_text_that_the_driver_compiles_stays_where_there_is_no_machine_code(tmp_path):
    data = container(entry(CUBIN, 80), entry(PTX, 80), entry(PTX, 120))
    after, count = cleared(data, tmp_path)
    assert count == 2 * len(CODE)
    assert entry(PTX, 80) in after


def test_both_of_two_containers_are_cleared(tmp_path):
    one = container(entry(CUBIN, 90), entry(CUBIN, 75))
    _, count = cleared(one + bytes(24) + one, tmp_path)
    assert count == 2 * len(CODE)


def test_bytes_that_only_look_like_a_container_stay(tmp_path):
    wrong_kind = container(entry(7, 80), entry(CUBIN, 75))
    cut = container(entry(CUBIN, 75))[:-1]
    for data in (wrong_kind, cut, MAGIC, MAGIC + b"\1" * 40, b"nothing"):
        assert cleared(data, tmp_path) == (data, 0)


def test_a_container_after_bytes_that_look_like_one_is_found(tmp_path):
    _, count = cleared(MAGIC + container(entry(CUBIN, 90), entry(CUBIN, 75)), tmp_path)
    assert count == len(CODE)


def test_what_is_packed_is_the_lock_for_the_host_but_for_what_is_named():
    packed = {Requirement(line).name: line for line in requirements.packed()}
    assert packed["vllm"] in {str(one) for one in requirements.pins("gpu.txt")}
    numpy = [one for one in requirements.pins("gpu.txt") if one.name == "numpy"]
    assert packed["numpy"] == f"numpy{numpy[0].specifier}"  # of two lines, by the host's Python
    assert "pywin32" not in packed  # a marker that does not hold there
    assert not any(";" in line for line in packed.values())
    assert not packed.keys() & requirements.UNUSED
    assert packed.keys() >= requirements.TESTS


def test_torchvision_is_packed_for_vllm_imports_it_when_it_starts_on_a_gpu():
    assert any(line.startswith("torchvision==") for line in requirements.packed())


def test_every_package_that_is_left_out_is_in_the_lock():
    assert {one.name for one in requirements.pins("gpu.txt")} >= requirements.UNUSED


def test_torchs_own_versions_of_its_libraries_are_packed(tmp_path):
    wheel = tmp_path / "torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    lines = [
        "Metadata-Version: 2.1",
        "Requires-Dist: filelock",
        'Requires-Dist: nvidia-cudnn-cu13==9.20.0.48; platform_system == "Linux"',
        'Requires-Dist: triton==3.7.1; platform_system == "Windows"',
    ]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("torch-2.13.0.dist-info/METADATA", "\n".join(lines) + "\n")
    assert requirements.brought_by(wheel) == ["nvidia-cudnn-cu13==9.20.0.48", "mpmath"]
