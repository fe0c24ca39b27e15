"""The table of errors."""

from ray.exceptions import RayTaskError

from deployments.errors import AudioTooLong, EngineFailed
from serve_app.http_errors import TABLE, error_answer, unwrap


def test_no_row_of_the_table_is_hidden_by_one_above_it() -> None:
    kinds = [kind for kind, _ in TABLE]
    for index, kind in enumerate(kinds):
        assert not any(issubclass(kind, above) for above in kinds[:index]), kind


def test_unwrap_finds_the_error_through_two_actors_with_its_fields() -> None:
    inner = AudioTooLong(41, 30, param="file")
    once = RayTaskError("thinker", "tb", inner).as_instanceof_cause()
    twice = RayTaskError("token2wav", "tb", once).as_instanceof_cause()
    assert unwrap(twice) is inner
    assert error_answer(twice).body["error"]["param"] == "file"


def test_unwrap_opens_a_group_of_one() -> None:
    inner = EngineFailed("dead")
    assert unwrap(ExceptionGroup("tasks", [inner])) is inner


def test_the_message_of_an_error_that_is_not_ours_is_not_shown() -> None:
    answer = error_answer(RuntimeError("/home/someone/secret.py"))
    assert answer.status == 500
    assert "secret" not in str(answer.body)
