"""Errors keep their type, message and fields across a process."""

import pickle

import pytest

from deployments import errors

EXAMPLES = [
    errors.AudioUnreadable("no header", param="file"),
    errors.AudioTooLong(seconds=41, limit_s=30, param="file"),
    errors.ReferenceAudioUnfit(seconds=0.2, min_s=1, max_s=30),
    errors.UnknownVoice("nobody", known=("default",)),
    errors.VoiceUnusable("its mel is not finite"),
    errors.VoiceSampleUnfit("it is silent"),
    errors.VoiceExists("anna"),
    errors.VoiceStoreFull(1000),
    errors.SpokenTurnGone("audio_1", param="messages[1].audio.id"),
    errors.SpokenTurnExpired(1700000000, param="messages[1].audio.id"),
    errors.SpokenTurnInvalid("its signature is wrong", param="messages[1].audio.id"),
    errors.PromptTooLong(tokens=9000, limit=4096),
    errors.SpeechTooLong(tokens=9000, limit=4096),
    errors.AnswerCut(1024),
    errors.AnswerSilent("this input"),
    errors.UnsupportedRequest("no such format", param="response_format"),
    errors.ServerFull(retry_after_s=2.5, reason="time"),
    errors.EveryReplicaFull(retry_after_s=1.5),
    errors.LimitReached("anna", "send 6 requests in a minute", 9.5),
    errors.NotReady(),
    errors.EngineFailed("the engine died"),
    errors.EngineLost("it is gone"),
    errors.ReplicaHangs("x1y2", "no heartbeat for 2.0 s"),
    errors.ThinkerLost(),
    errors.VoiceStoreFailed("no answer"),
    errors.ConfigError("no such file"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_error_has_an_example_here():
    def leaves(cls: type) -> set[type]:
        children = [c for c in cls.__subclasses__() if c.__module__ == errors.__name__]
        return {leaf for child in children for leaf in leaves(child)} or {cls}

    assert {type(error) for error in EXAMPLES} == leaves(errors.StepAudioError) | {
        errors.EngineFailed,
        errors.EngineLost,
        errors.ServerFull,
    }
