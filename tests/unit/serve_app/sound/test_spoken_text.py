"""What of a written text is spoken."""

import time

import pytest

from serve_app.sound.spoken_text import spoken_text


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello 😀 world", "Hello world"),
        ("Great!😀Next one. 🎉🎉", "Great! Next one."),
        ("🎉 Great!", "Great!"),
        ("Well 😀, yes 👍🏽.", "Well, yes."),
        ("你好😀。世界", "你好。世界"),
        ("A family 👨‍👩‍👧, a flag 🇩🇪, a heart ❤️ and ☎", "A family, a flag, a heart and"),
        ("1️⃣ first", "1 first"),
    ],
)
def test_emoji_leave_no_more_than_a_space(written: str, spoken: str) -> None:
    assert spoken_text(written) == spoken


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("I **really** mean *it*, __so__ _do_ it.", "I really mean it, so do it."),
        ("~~no~~ `code`", "no code"),
        ("***both*** and **one *in* another**", "both and one in another"),
        ("这是**重点**内容", "这是重点内容"),
        ("**Note:** two\n**lines**", "Note: two\nlines"),
    ],
)
def test_marks_of_emphasis_are_left_out(written: str, spoken: str) -> None:
    assert spoken_text(written) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "Hello, how are you?  I'm fine.\n\n(Really.)",
        "2 * 3 * 4 = 24, 2*3*4 too; a_snake_case_name",
        "© 2024 ACME™, 20 °C, C♯, 5 → 6, №3",
        "今天天气很好，我们出去走走吧。",
        "می\u200cخواهم क्\u200dष",  # joiners belong to letters
        "a* and b*",
    ],
)
def test_any_other_text_is_left_as_it_is(text: str) -> None:
    assert spoken_text(text) == text


@pytest.mark.parametrize(
    "hostile",
    ["*a ", "_a_b", "**", "`a", "~~", "😀 ", "😀\u200d", " ", "\t", "\u200d", "🇩", "é  "],
)
def test_no_text_takes_long(hostile: str) -> None:
    text = (hostile * 20_000)[:20_000] + "é"
    begin_s = time.thread_time()
    spoken_text(text)
    assert time.thread_time() - begin_s < 1.0  # linear: 0.1 s; quadratic: 20 s and more
