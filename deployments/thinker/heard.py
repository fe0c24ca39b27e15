"""An interrupted spoken turn → the token ids of what was heard of it.

In a spoken answer (TA4) every text token stands before four audio tokens, so the text runs at 6.25
tokens a second. Speech takes about 3 of them a second: the ids up to a moment of the sound hold
about twice the words that were heard by then. So a turn is cut in its two columns, the text and
the audio, and the columns are interleaved anew as the model writes them:

    text, 4 audio, text, 4 audio, <tts_pad>, 4 audio, … <tts_end>

The shorter column is padded. As far as the text was heard, the ids are those that were produced,
and a cached prefix of the prompt stays valid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.messages import Heard
from deployments.thinker.tokens import HasBytes, SpecialTokens, TextDecoder

AUDIO_TOKENS_A_GROUP = 4  # TA4: a group is a text token and four audio tokens


@dataclass(frozen=True, slots=True)
class Columns:
    """What a spoken turn holds, without padding, each in its order."""

    text: list[int]  # that is spoken
    audio: list[int]
    calls: list[int]  # of tools, those that are closed, with their marks
    ended: bool  # whether the model ended its speech: the audio says all of the text


def heard_ids(
    token_ids: Sequence[int], heard: Heard, special: SpecialTokens, vocabulary: HasBytes
) -> list[int]:
    """The ids of a spoken turn up to where it was heard, for the history.

    Thoughts and text outside the speech are left out: nobody heard them. Tool calls stay, for they
    were made. A turn that was heard to its end stays as it was produced.

    Args:
        token_ids: all ids that were produced after `<tts_start>`.
        heard: where it was cut; a position behind the turn's end means its end.

    Returns:
        Its first `heard.audio_tokens` audio tokens, and the fewest of its first text tokens that
        hold the characters of `heard.text`, interleaved, padded and ended by `<tts_end>`; behind it
        all tool calls.
    """
    columns = columns_of(token_ids, special, vocabulary)
    if columns.ended and heard.audio_tokens >= len(columns.audio):
        return list(token_ids)
    text = _covering(columns.text, heard.text, vocabulary)
    audio = columns.audio[: max(0, heard.audio_tokens)]
    return [*interleaved(text, audio, special), *columns.calls]


def columns_of(token_ids: Sequence[int], special: SpecialTokens, vocabulary: HasBytes) -> Columns:
    """What a spoken turn says, what it sounds like, and which tools it calls."""
    text: list[int] = []
    audio: list[int] = []
    calls: list[int] = []
    speaking = True
    aside: list[int] = []  # a tool call or a thought that is open
    for token_id in token_ids:
        if token_id in (special.tts_start, special.tts_end):
            speaking, aside = token_id == special.tts_start, []
        elif token_id in (special.tool_call_start, special.think_start):
            aside = [token_id]
        elif token_id in (special.tool_call_end, special.think_end):
            is_call = (aside[:1], token_id) == ([special.tool_call_start], special.tool_call_end)
            calls += [*aside, token_id] if is_call else []
            aside = []
        elif speaking and special.is_audio(token_id):
            aside = []  # neither a call nor a thought can hold sound
            audio += [token_id] if token_id != special.audio_pad else []
        elif vocabulary.bytes_of(token_id) is not None:
            if aside:
                aside.append(token_id)
            elif speaking:
                text.append(token_id)
    return Columns(text, audio, calls, ended=not speaking)


def interleaved(text: Sequence[int], audio: Sequence[int], special: SpecialTokens) -> Iterator[int]:
    """The ids of a spoken turn, as the model writes them after `<tts_start>`."""
    step = AUDIO_TOKENS_A_GROUP
    for group in range(max(len(text), -(-len(audio) // step))):
        sounds = audio[group * step : (group + 1) * step]
        yield text[group] if group < len(text) else special.tts_pad
        yield from sounds
        yield from [special.audio_pad] * (step - len(sounds))
    yield special.tts_end


def _covering(text: list[int], heard: str, vocabulary: HasBytes) -> list[int]:
    """The fewest first tokens of `text` that hold the characters of `heard`."""
    missing = _characters(heard)
    decoder = TextDecoder(vocabulary)
    for count, token_id in enumerate(text):
        if missing <= 0:
            return text[:count]
        missing -= _characters(decoder.push(token_id))
    return text


def _characters(text: str) -> int:
    """Characters without spaces, which a caller may have stripped or joined."""
    return sum(map(len, text.split()))
