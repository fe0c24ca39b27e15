"""What an `audio.id` holds, and which ids are refused."""

import pytest

from deployments.errors import SpokenTurnExpired, SpokenTurnInvalid
from serve_app.http.chat.turn_ids import MAX_CHARS, PREFIX, TurnIds

NOW = 1000.0
LATER = 2000
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
TURN = (151695, 151696, 0, 158257, 7)


@pytest.fixture
def ids() -> TurnIds:
    return TurnIds([KEY])


@pytest.mark.parametrize("turn", [(), (0,), (255,), TURN, tuple(range(1000)), (2**24 - 1, 1)])
def test_an_id_holds_its_tokens(ids: TurnIds, turn: tuple[int, ...]) -> None:
    turn_id = ids.of_tokens(turn, LATER, "")
    assert ids.read(turn_id, "", NOW).token_ids == turn
    assert ids.read(turn_id, "", NOW).expires_at == LATER


def test_ten_seconds_take_a_few_hundred_characters(ids: TurnIds) -> None:
    nano = ids.of_tokens([8191] * 313, LATER, "")
    published = ids.of_tokens([158257] * 313, LATER, "")
    assert (len(nano), len(published)) == (716, 977)


def test_two_minutes_fit(ids: TurnIds) -> None:
    turn = [158257] * round(120 * 31.25)
    turn_id = ids.of_tokens(turn, LATER, "")
    assert len(turn_id) <= MAX_CHARS
    assert ids.read(turn_id, "", NOW).token_ids == tuple(turn)


def test_an_id_is_void_from_the_second_it_expires(ids: TurnIds) -> None:
    turn_id = ids.of_tokens(TURN, LATER, "")
    assert ids.read(turn_id, "", LATER - 0.1).token_ids == TURN
    with pytest.raises(SpokenTurnExpired):
        ids.read(turn_id, "", LATER)


def test_any_key_verifies_and_the_first_one_signs() -> None:
    old = TurnIds([OTHER_KEY]).of_tokens(TURN, LATER, "")
    rotated = TurnIds([KEY, OTHER_KEY])
    assert rotated.read(old, "", NOW).token_ids == TURN
    new = rotated.of_tokens(TURN, LATER, "")
    assert TurnIds([KEY]).read(new, "", NOW).token_ids == TURN
    with pytest.raises(SpokenTurnInvalid):
        TurnIds([OTHER_KEY]).read(new, "", NOW)


@pytest.mark.parametrize("name_of", ["tokens", "name"])
def test_an_id_is_its_owners_alone(ids: TurnIds, name_of: str) -> None:
    if name_of == "tokens":
        turn_id = ids.of_tokens(TURN, LATER, "anna")
    else:
        turn_id = ids.of_name(LATER, "anna")
    ids.read(turn_id, "anna", NOW)
    for other in ("ben", ""):
        with pytest.raises(SpokenTurnInvalid, match="not signed it for this caller"):
            ids.read(turn_id, other, NOW)


def test_every_changed_character_is_noticed(ids: TurnIds) -> None:
    turn_id = ids.of_tokens(TURN, LATER, "")
    for place in range(len(PREFIX), len(turn_id) - 1):  # the last one has bits that mean nothing
        changed = "A" if turn_id[place] != "A" else "B"
        with pytest.raises(SpokenTurnInvalid):
            ids.read(turn_id[:place] + changed + turn_id[place + 1 :], "", NOW)


@pytest.mark.parametrize(
    "forged",
    ["", "audio_", "audio_never", "audio_%%%", "audio_é", "x", "audio_" + "A" * 64, "A" * 64],
)
def test_what_was_never_given_out_is_refused(ids: TurnIds, forged: str) -> None:
    with pytest.raises(SpokenTurnInvalid):
        ids.read(forged, "", NOW)


def test_an_id_that_is_too_long_is_not_even_decoded(ids: TurnIds) -> None:
    with pytest.raises(SpokenTurnInvalid, match="longer than"):
        ids.read(PREFIX + "A" * MAX_CHARS, "", NOW)


def test_what_a_store_keeps_is_valid_under_its_own_name_alone(ids: TurnIds) -> None:
    sealed = ids.sealed(TURN, LATER, "", b"one")
    assert ids.open(sealed, "", NOW, b"one").token_ids == TURN
    for name in (b"two", b""):
        with pytest.raises(SpokenTurnInvalid):
            ids.open(sealed, "", NOW, name)


def test_two_announced_ids_differ(ids: TurnIds) -> None:
    assert ids.of_name(LATER, "") != ids.of_name(LATER, "")
    assert ids.read(ids.of_name(LATER, ""), "", NOW).token_ids is None
