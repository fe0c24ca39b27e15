"""The stores of spoken turns: this process's memory, and a folder."""

from pathlib import Path

import pytest

from deployments.errors import ConfigError, EngineFailed
from serve_app.http.chat.turn_stores import SWEEP_EVERY_S, FolderTurns, MemoryTurns


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_what_expires_first_makes_room_whenever_it_was_kept() -> None:
    turns = MemoryTurns(capacity=2, clock=Clock())
    await turns.put("late", b"1", 115)
    await turns.put("early", b"2", 110)
    await turns.put("last", b"3", 120)
    assert await turns.get("early", 110) is None
    assert [await turns.get("late", 115), await turns.get("last", 120)] == [b"1", b"3"]


async def test_expired_turns_hold_no_memory() -> None:
    clock = Clock()
    turns = MemoryTurns(capacity=100, clock=clock)
    for number in range(50):
        await turns.put(str(number), b"", 110)
    clock.now = 200
    await turns.put("one", b"", 210)
    assert len(turns._turns) == len(turns._expiries) == 1


@pytest.mark.parametrize("url", ["path", "file", "memory"])
async def test_what_one_replica_puts_another_one_gets(tmp_path: Path, url: str) -> None:
    urls = {"path": f"{tmp_path}/a/b", "file": f"file://{tmp_path}/c", "memory": "memory://d"}
    await FolderTurns(urls[url]).put("name", b"sealed", 2**33)
    assert await FolderTurns(urls[url]).get("name", 2**33) == b"sealed"
    assert await FolderTurns(urls[url]).get("other", 2**33) is None


async def test_the_sweep_removes_what_has_expired_and_nothing_else(tmp_path: Path) -> None:
    clock = Clock()
    turns = FolderTurns(str(tmp_path), clock)
    (tmp_path / "README").touch()
    await turns.put("early", b"1", 110)
    clock.now += SWEEP_EVERY_S
    await turns.put("late", b"2", 2000)
    assert turns._sweep is not None
    await turns._sweep
    assert {path.name for path in tmp_path.iterdir()} == {"README", "2000-late.turn"}


async def test_a_folder_that_went_away_is_no_500_and_harms_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    turns = FolderTurns(f"{tmp_path}/folder")
    (tmp_path / "folder").write_text("now it is a file")
    await turns.put("name", b"sealed", 2**33)
    assert "could not be kept" in caplog.text
    with pytest.raises(EngineFailed, match="store of spoken answers"):
        await turns.get("name", 2**33)


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "/dev/null/x", "here"])
def test_a_folder_that_cannot_be_is_a_configuration_error_of_one_line(url: str) -> None:
    with pytest.raises(ConfigError, match=f"^http.spoken_turns_folder '{url}'[^\n]*$"):
        FolderTurns(url)
