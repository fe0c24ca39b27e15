"""What of a written text is to be spoken: no emoji, and no marks of Markdown's emphasis."""

import regex

# A picture with all that belongs to it: a skin, a sign that it has colours, and joined pictures.
# ©, ®, ™ and the like are pictures to Unicode too, but signs to a reader.
_SIGNS = "[©®™‼⁉ℹ〰〽㊗㊙]"
_PICTURE = rf"(?:[\p{{Extended_Pictographic}}--{_SIGNS}]|{_SIGNS}(?=\uFE0F))"
_PARTS = r"[\uFE0E\uFE0F\U000E0020-\U000E007F\p{Emoji_Modifier}]*"
_EMOJI = rf"(?:{_PICTURE}{_PARTS}(?:\u200D{_PICTURE}{_PARTS})*|\p{{Regional_Indicator}}{{1,2}})"
_EMOJIS = regex.compile(
    rf"(?V1)(?P<before>\A|\n)?(?<![ \t])[ \t]*(?:{_EMOJI}[ \t]*)+(?P<after>(?=[\p{{P}}\n]|\Z))?"
)
_KEYCAP = regex.compile(r"(?<=[0-9#*])\uFE0F?\u20E3")

# **strong**, *emphasised*, __strong__, _emphasised_, ~~struck~~ and `code`. A mark within a word or
# a number is no mark: snake_case, 2*3*4. Chinese has no spaces around its words.
_EMPHASIS = regex.compile(
    r"(?<![A-Za-z0-9\\])(?:(\*{1,3}+)(?=\S)([^*\n]+)(?<=\S)\1|(_{1,3}+)(?=\S)([^_\n]+)(?<=\S)\3"
    r"|(~~)(?=\S)([^~\n]+)(?<=\S)~~|`([^`\n]+)`)(?![A-Za-z0-9])"
)
NESTED = 3  # marks within marks


def spoken_text(text: str) -> str:
    """`text` as it is to be spoken; mostly the very same."""
    return _without_emphasis(_without_emoji(text))


def _without_emoji(text: str) -> str:
    if text.isascii():
        return text
    return _EMOJIS.sub(_gap, _KEYCAP.sub("", text))


def _gap(emojis: regex.Match[str]) -> str:
    """What is left in the place of emojis: a space, but at neither end nor before a stop."""
    if emojis["before"] is not None:
        return emojis["before"]
    return "" if emojis["after"] is not None else " "


def _without_emphasis(text: str) -> str:
    for _ in range(NESTED):
        text, found = _EMPHASIS.subn(lambda marked: marked[marked.lastindex or 0], text)
        if not found:
            break
    return text
