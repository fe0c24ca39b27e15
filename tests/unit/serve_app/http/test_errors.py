"""The table of errors."""

from ray.exceptions import RayTaskError

from deployments.errors import AudioTooLong, UnknownVoice
from serve_app.http.errors import TABLE, error_answer


def test_no_row_of_the_table_is_hidden_by_one_above_it() -> None:
    kinds = [kind for kind, _ in TABLE]
    for index, kind in enumerate(kinds):
        assert not any(issubclass(kind, above) for above in kinds[:index]), kind


def test_an_error_keeps_its_fields_through_two_actors() -> None:
    inner = AudioTooLong(41, 30, param="file")
    once = RayTaskError("thinker", "tb", inner).as_instanceof_cause()
    twice = RayTaskError("token2wav", "tb", once).as_instanceof_cause()
    assert error_answer(twice).body["error"]["param"] == "file"


def test_the_message_of_an_error_that_is_not_ours_is_not_shown() -> None:
    answer = error_answer(RuntimeError("/home/someone/secret.py"))
    assert answer.status == 500
    assert "secret" not in str(answer.body)


def test_an_error_repeats_little_of_a_large_request() -> None:
    error = UnknownVoice("x" * 25_000_000)
    error.param = "tools" * 1000
    told = error_answer(error).body["error"]
    assert told["message"].startswith("there is no voice 'xxx") and len(told["message"]) < 1100
    assert len(told["param"]) < 300
