"""Spoken turns, named and found again."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.errors import ConfigError, SpokenTurnExpired, SpokenTurnGone, SpokenTurnInvalid
from serve_app.http.chat.spoken_turns import SpokenTurns, spoken_turns_of
from serve_app.http.chat.turn_ids import TurnIds
from serve_app.http.chat.turn_stores import FolderTurns, MemoryTurns, TurnStore
from serve_app.http.settings import HttpSettings

KEY = "a key of sixteen characters or more"
TURN = (1, 20000, 3)
PARAM = "messages[1].audio.id"


def replica(store: TurnStore, now: float = 100.0, key: str = KEY) -> SpokenTurns:
    return SpokenTurns(TurnIds([key.encode()]), store, ttl_s=60, clock=lambda: now)


def memory() -> MemoryTurns:
    return MemoryTurns(9, clock=lambda: 100.0)


async def kept(turns: SpokenTurns, owner: str = "") -> str:
    """The id of a streamed answer that has ended."""
    turn = turns.announce(owner)
    await turns.keep(turn, TURN, owner)
    return turn.id


async def test_a_whole_answers_id_needs_no_store() -> None:
    turn = await replica(memory()).name(TURN, "")
    assert turn.expires_at == 160
    assert await replica(memory()).token_ids(turn.id, "", PARAM) == TURN


async def test_a_streamed_answers_id_is_honoured_where_the_store_is_shared(tmp_path: Path) -> None:
    turn_id = await kept(replica(FolderTurns(str(tmp_path))))
    assert await replica(FolderTurns(str(tmp_path))).token_ids(turn_id, "", PARAM) == TURN
    with pytest.raises(SpokenTurnGone) as gone:
        await replica(memory()).token_ids(turn_id, "", PARAM)
    assert gone.value.param == PARAM


async def test_a_streamed_answer_that_never_ended_is_gone() -> None:
    turns = replica(memory())
    with pytest.raises(SpokenTurnGone):
        await turns.token_ids(turns.announce("").id, "", PARAM)


async def test_an_answer_too_long_for_an_id_goes_into_the_store() -> None:
    turns = replica(memory())
    long = tuple(range(150_000, 156_000))
    turn = await turns.name(long, "anna")
    assert len(turn.id) < 100
    assert await turns.token_ids(turn.id, "anna", PARAM) == long


async def test_expired_ids_are_refused_by_their_place() -> None:
    store = memory()
    turns = replica(store)
    for turn_id in ((await turns.name(TURN, "")).id, await kept(turns)):
        assert await replica(store, now=159.9).token_ids(turn_id, "", PARAM) == TURN
        with pytest.raises(SpokenTurnExpired) as refused:
            await replica(store, now=160).token_ids(turn_id, "", PARAM)
        assert refused.value.param == PARAM


async def test_a_stream_that_ended_after_its_expiry_is_not_kept() -> None:
    store = memory()
    turn = replica(store).announce("")
    await replica(store, now=161).keep(turn, TURN, "")
    assert not store._turns


async def test_half_a_file_is_an_answer_that_is_not_kept(tmp_path: Path) -> None:
    turns = replica(FolderTurns(str(tmp_path), clock=lambda: 100.0))
    turn_id = await kept(turns)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SpokenTurnGone):
        await turns.token_ids(turn_id, "", PARAM)


async def test_an_owner_sees_only_its_own() -> None:
    turns = replica(memory())
    for turn_id in ((await turns.name(TURN, "anna")).id, await kept(turns, "anna")):
        assert await turns.token_ids(turn_id, "anna", PARAM) == TURN
        with pytest.raises(SpokenTurnInvalid):
            await turns.token_ids(turn_id, "ben", PARAM)


def settings(**fields: object) -> HttpSettings:
    return HttpSettings(**fields)  # type: ignore[arg-type]


async def test_keys_come_from_configuration_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY.replace(' ', '-')}\n{'second' * 4}\n")
    of_file = spoken_turns_of(settings(spoken_turn_keys_file=str(file)))
    turn_id = (await of_file.name(TURN, "")).id
    monkeypatch.setenv("STEP_AUDIO2_SPOKEN_TURN_KEYS", f"{'new' * 8} {KEY.replace(' ', '-')}")
    assert await spoken_turns_of(settings()).token_ids(turn_id, "", PARAM) == TURN
    configured = settings(spoken_turn_keys=(SecretStr(KEY.replace(" ", "-")),))
    assert await spoken_turns_of(configured).token_ids(turn_id, "", PARAM) == TURN


async def test_a_key_that_is_made_up_is_another_one_each_time() -> None:
    turn_id = (await spoken_turns_of(settings()).name(TURN, "")).id
    with pytest.raises(SpokenTurnInvalid):
        await spoken_turns_of(settings()).token_ids(turn_id, "", PARAM)


@pytest.mark.parametrize("content", [None, "", "short", b"\xff\xfe"])
def test_a_key_file_that_cannot_be_used_is_a_configuration_error(
    tmp_path: Path, content: str | bytes | None
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=r"http\.spoken_turn_keys"):
        spoken_turns_of(settings(spoken_turn_keys_file=str(file)))
