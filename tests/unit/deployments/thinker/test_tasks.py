import subprocess
import sys

import numpy as np
import pytest

from deployments.messages import AudioPart, Role, TextPart
from deployments.thinker import tasks

SAMPLES = np.zeros(16_000, dtype=np.float32)


@pytest.mark.parametrize(
    ("messages", "system"),
    [
        (tasks.transcribe(SAMPLES), "请记录下你所听到的语音内容。"),
        (tasks.transcribe(SAMPLES, language="de"), "请记录下你所听到的语音内容。"),
        (tasks.translate(SAMPLES, into="zh"), "请仔细聆听这段语音，然后将其内容翻译成中文。"),
        (
            tasks.speech_to_speech_translation(SAMPLES),
            "请仔细聆听这段语音，然后将其内容翻译成中文并用语音播报。",
        ),
        (tasks.ask(SAMPLES, "who speaks?"), "who speaks?"),
    ],
)
def test_a_listening_task_has_the_models_own_words_before_the_recording(messages, system):
    assert [message.role for message in messages] == [Role.SYSTEM, Role.HUMAN]
    assert messages[0].parts == (TextPart(system),)
    (part,) = messages[1].parts
    assert isinstance(part, AudioPart) and part.samples is SAMPLES


def test_openais_translation_is_into_english():
    assert tasks.translate(SAMPLES)[0].parts == (TextPart(tasks.TRANSLATE["en"]),)


def test_a_prompt_follows_the_words_of_transcription_and_of_translation():
    (part,) = tasks.transcribe(SAMPLES, prompt="Zürich")[0].parts
    assert part == TextPart("请记录下你所听到的语音内容。Zürich")
    (part,) = tasks.translate(SAMPLES, into="zh", prompt="Zürich")[0].parts
    assert part == TextPart(tasks.TRANSLATE["zh"] + "Zürich")


def test_a_text_to_speak_is_what_the_human_says():
    system, human = tasks.speak("hello", instructions="slowly")
    assert system.parts == (TextPart("以自然的语速读出下面的文字。\nslowly"),)
    assert human.parts == (TextPart("hello"),)


def test_a_conversation_goes_on_after_its_history():
    history = tasks.converse("hi")
    assert tasks.converse("and?", history)[:2] == history
    assert tasks.converse("and?", history)[2].parts == (TextPart("and?"),)


def test_the_tasks_need_no_vllm():
    code = "import sys, deployments.thinker.tasks; sys.exit('vllm' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
