"""The store of uploaded voices: whole or not there, one of a name, known to all within a second."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.implementations.local import LocalFileSystem

from deployments.errors import (
    ConfigError,
    UnknownVoice,
    VoiceExists,
    VoiceStoreFailed,
    VoiceStoreFull,
)
from deployments.voice_store import VoiceStore, folder_of, fsspec_storage
from deployments.voice_store import voice_store as store_module

RECORDING = bytes(range(256)) * 100


class Clock:
    """A clock that stands until it is set forward."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "deep" / "voices")
    return f"memory://{uuid4().hex}/voices"


async def test_a_voice_is_found_by_name_and_id_and_read_by_every_store(url: str) -> None:
    made = await VoiceStore(url).create("Zoë", RECORDING)
    other = VoiceStore(url)
    assert await other.find("Zoë") == await other.find(made.id) == made
    assert await other.voices() == [made]
    assert await other.read(made) == RECORDING


async def test_a_name_is_taken_until_its_voice_is_deleted(url: str) -> None:
    store, other = VoiceStore(url), VoiceStore(url)
    first = await store.create("me", b"one")
    with pytest.raises(VoiceExists, match="'me'"):
        await other.create("me", b"two")
    assert await other.delete(first.id) and not await store.delete(first.id)
    second = await other.create("me", b"two")
    assert second.id != first.id
    with pytest.raises(UnknownVoice):  # whoever still has the first one does not get the second
        await store.read(first)
    assert not await store.delete(first.id)
    assert await store.read(second) == b"two"


async def test_a_voice_is_known_at_once_and_its_end_within_a_second(url: str) -> None:
    clock = Clock()
    store, other = VoiceStore(url), VoiceStore(url, clock)
    assert await other.find("me") is None and await other.voices() == []
    voice = await store.create("me", RECORDING)
    assert await other.find("me") == voice  # what is not there is not remembered
    clock.now_s += 1.0
    assert await other.voices() == [voice]
    await store.delete(voice.id)
    clock.now_s += 1.0
    assert await other.find("me") is None and await other.voices() == []


async def test_requests_that_come_together_look_once(url: str, monkeypatch) -> None:
    store = VoiceStore(url)
    voice = await store.create("me", RECORDING)
    looked: list[str] = []
    look = store._folder.head
    monkeypatch.setattr(
        store._folder, "head", lambda name, size: looked.append(name) or look(name, size)
    )
    assert set(await asyncio.gather(*(store.find("me") for _ in range(20)))) == {voice}
    assert len(looked) == 1


async def test_a_caller_that_leaves_does_not_end_the_look_of_others(url: str) -> None:
    store = VoiceStore(url)
    voice = await store.create("me", RECORDING)
    leaver = asyncio.create_task(store.find("me"))
    stayer = asyncio.create_task(store.find("me"))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == voice


async def test_an_owner_sees_his_own_voices_and_everybody_s(url: str) -> None:
    store = VoiceStore(url)
    hers, his = await store.create("me", b"1", "ann"), await store.create("me", b"2", "ben")
    all_s = await store.create("all", b"3")
    assert await store.find("me", "ann") == hers and await store.find("me", "ben") == his
    assert await store.find("me") is None and await store.find(hers.id, "ben") is None
    assert {voice.id for voice in await store.voices("ben")} == {his.id, all_s.id}
    assert await store.voices() == [all_s]
    assert not await store.delete(hers.id, "ben")
    assert await store.find("me", "ann") == hers


async def test_a_store_holds_no_more_than_its_limit(url: str) -> None:
    store = VoiceStore(url)
    await store.create("one", RECORDING, limit=1)
    with pytest.raises(VoiceStoreFull, match="keeps 1"):
        await store.create("two", RECORDING, limit=1)


@pytest.mark.parametrize(
    "asked", ["", "../x", "voice_", "voice_" + "0" * 40, "voice_../../../etc", "x" * 10**6, "\0"]
)
async def test_what_names_no_voice_finds_none(url: str, asked: str) -> None:
    store = VoiceStore(url)
    await store.create("me", RECORDING)
    assert await store.find(asked) is None
    assert not await store.delete(asked)


async def test_of_many_that_create_one_name_at_once_one_does(tmp_path: Path) -> None:
    stores = [VoiceStore(str(tmp_path)) for _ in range(8)]
    answers = await asyncio.gather(
        *(store.create("me", bytes([i])) for i, store in enumerate(stores)), return_exceptions=True
    )
    (voice,) = (answer for answer in answers if not isinstance(answer, VoiceExists))
    assert await stores[0].voices() == [voice]
    assert await stores[0].read(voice) == bytes([answers.index(voice)])


KILLED = """
import asyncio, os, signal, sys
from deployments.voice_store import VoiceStore
real = getattr(os, sys.argv[2])
def killed(*args, **kwargs):
    if sys.argv[3] == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, sys.argv[2], killed)
asyncio.run(VoiceStore(sys.argv[1]).create("me", bytes(1 << 20)))
"""


@pytest.mark.parametrize(
    ("call", "when", "is_there"),
    [("fsync", "before", False), ("link", "before", False), ("link", "after", True)],
)
async def test_a_process_that_is_killed_leaves_a_whole_voice_or_none(
    tmp_path: Path, call: str, when: str, is_there: bool
) -> None:
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), call, when]
    ended = await asyncio.to_thread(subprocess.run, arguments, env=os.environ, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".*.part"))  # it was killed at work
    store = VoiceStore(str(tmp_path))
    if is_there:
        (voice,) = await store.voices()
        assert await store.read(voice) == bytes(1 << 20)
    else:
        assert await store.voices() == [] and await store.find("me") is None
        await store.create("me", RECORDING)


async def test_what_a_killed_process_left_is_swept_an_hour_later(tmp_path: Path) -> None:
    old, new = tmp_path / ".old.part", tmp_path / ".new.part"
    old.touch(), new.touch()
    os.utime(old, (0, 0))
    await VoiceStore(str(tmp_path)).create("me", RECORDING)
    assert not old.exists() and new.exists()


async def test_a_disk_without_hard_links_holds_voices_too(tmp_path: Path, monkeypatch) -> None:
    def no_links(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fsspec_storage.os, "link", no_links)
    store = VoiceStore(str(tmp_path))
    voice = await store.create("me", RECORDING)
    with pytest.raises(VoiceExists):
        await store.create("me", RECORDING)
    assert await store.read(voice) == RECORDING
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("content", [b"", b"{}\n", b"no JSON", b'{"id": "x', b"\xff" * 9999])
async def test_files_that_are_no_voices_are_not_seen(tmp_path: Path, content: bytes) -> None:
    store = VoiceStore(str(tmp_path))
    voice = await store.create("me", RECORDING)
    (tmp_path / f"{'0' * 24}.voice").write_bytes(content)
    (tmp_path / "notes.txt").write_bytes(content)
    assert await VoiceStore(str(tmp_path)).voices() == [voice]


async def test_a_damaged_recording_is_not_spoken_in(tmp_path: Path) -> None:
    store = VoiceStore(str(tmp_path))
    voice = await store.create("me", RECORDING)
    (file,) = tmp_path.glob("*.voice")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(VoiceStoreFailed, match="damaged"):
        await store.read(voice)


def failing(error: Exception) -> Callable[..., bytes]:
    def fail(*args: object, **kwargs: object) -> bytes:
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("no credentials")])
async def test_a_filesystem_that_fails_is_one_error(
    tmp_path: Path, error: Exception, monkeypatch
) -> None:
    store = VoiceStore(str(tmp_path))
    voice = await store.create("me", RECORDING)
    monkeypatch.setattr(LocalFileSystem, "cat_file", failing(error))
    for call in (store.find("you"), store.read(voice), store.voices(), store.delete(voice.id)):
        with pytest.raises(VoiceStoreFailed, match=str(error)):
            await call
    monkeypatch.undo()
    assert await store.voices() == [voice]  # a failure is not remembered


async def test_a_filesystem_that_hangs_is_given_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(store_module, "TIMEOUT_S", 0.05)
    store, answers = VoiceStore(str(tmp_path)), threading.Event()
    monkeypatch.setattr(store._folder, "head", lambda name, size: answers.wait(10) and b"")
    with pytest.raises(VoiceStoreFailed, match="no answer within"):
        await store.find("me")
    answers.set()
    assert await store.find("me") is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("voices", "give a path from / or ~"),
        ("../voices", "give a path from / or ~"),
        ("nowhere://bucket/voices", "Protocol not known"),
        ("simplecache::memory://voices", "cannot be shared"),
    ],
)
def test_an_address_that_cannot_be_a_store_is_refused_by_name(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"voice_store.*{reason}"):
        folder_of(url)


def test_a_home_folder_is_the_user_s(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of("~/voices").local_path == tmp_path / "voices"
    assert folder_of(f"file://{tmp_path}/v").local_path == tmp_path / "v"
    assert folder_of("memory://voices").local_path is None
