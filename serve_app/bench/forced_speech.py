"""For benchmarks only: makes a model with random weights answer aloud for a given time.

Random weights end an answer at a random place and mix text and audio as they please. This logits
processor leaves the sampler no more than the shape of a real spoken answer (TA4): after
`<tts_start>` one text token, four audio tokens, one text token, …; after exactly the wanted
number of tokens `<tts_end>` and `<|EOT|>`. Which text or audio token it is, is still drawn.

It is on only where a configuration names it:

    thinker:
      engine_kwargs:
        logits_processors: ["serve_app.bench.forced_speech:ForcedSpeech"]
        additional_config: {forced_speech_tokens: 315}  # optional

An answer has as many TA4 tokens as the first of these says:

1. the request's `SamplingParams.extra_args["forced_speech_tokens"]`, whatever its prompt;
2. `additional_config["forced_speech_tokens"]` of the engine;
3. the request's `max_tokens`, at which the engine itself ends the answer, as `length`.

By 2 and 3 only prompts that end in `<tts_start>` are forced; other answers stay free. Prompts that
come over HTTP need nothing more than that. 315 tokens are 252 audio tokens: 10.08 s.

The class serves both of vLLM's model runners: V1 (0.32 on a CPU), which tells it the rows of the
batch and gives it the lists of tokens made; and V2 (0.32 on a GPU), which keeps all of that on the
device. vLLM 0.26 serves with V2 on a GPU but takes V1 where there is a processor, and V1 waits
for the last step's ids: figures made with this are of a slower engine than the one that serves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor as RowProcessor
from vllm.v1.sample.logits_processor import process_dict_updates

from deployments.thinker.tokens import SpecialTokens, TextVocabulary

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as SlotProcessor
except ImportError:  # vLLM before Model Runner V2 had logits processors
    SlotProcessor = object

OPTION = "forced_speech_tokens"
PERIOD = 5  # TA4: a text token and four audio tokens

# What the next token of a row may be: rows of the table of forbidden ids.
TEXT, AUDIO, TTS_END, TURN_END, FREE = range(5)
KINDS = 5


class ForcedSpeech(RowProcessor, SlotProcessor):
    """See the module. Both runners construct it: V1 with a device, V2 with its requests' state."""

    def __init__(self, vllm_config: Any, runner: Any, is_pin_memory: bool = False) -> None:
        model = vllm_config.model_config
        special, text_ids = read_tokenizer(model)
        self._default = _length_of(getattr(vllm_config, "additional_config", None))
        self._tts_start = special.tts_start
        self._pin = is_pin_memory
        self._device = torch.device(getattr(runner, "device", runner))
        self._forbidden = forbidden_ids(special, text_ids, model.get_vocab_size()).to(self._device)

        # V1: row of the batch → wanted length and the list that grows with every token
        self._forced: dict[int, tuple[int, list[int]]] = {}
        self._batch_size = 0
        self._rows = np.empty(0, dtype=np.int64)
        self._row_lengths = np.empty(0, dtype=np.int64)
        self._made: Sequence[list[int]] = ()
        self._kinds: Tensor | None = None

        # V2: slot of the request → wanted length, and whether its prompt's end matters
        by_slots = not isinstance(runner, torch.device | str)
        self._requests: Any = runner
        if by_slots:
            self._host = np.zeros((2, runner.max_num_reqs), dtype=np.int64)
            self._slots = torch.zeros(2, runner.max_num_reqs, dtype=torch.int64).to(self._device)
            self._staged = False

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError for a length that is no whole number above 0."""
        _length_of(sampling_params.extra_args)

    def is_argmax_invariant(self) -> bool:
        return False

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """Forbid, in place, what must not come next. logits: [rows, vocabulary]."""
        kinds = self._kinds if ctx is None else self._kinds_of_slots(ctx)
        if kinds is not None:
            forbidden = self._forbidden.index_select(0, kinds[: len(logits)])
            logits.masked_fill_(forbidden, float("-inf"))
        return logits

    # Model Runner V1

    def update_state(self, batch_update: Any) -> None:
        """Note which rows joined, left or moved, and what the next token of each row may be."""
        changed = process_dict_updates(self._forced, batch_update, self._begin)
        if batch_update is not None:
            self._batch_size = batch_update.batch_size
        if changed:
            lengths = [length for length, _ in self._forced.values()]
            self._rows = np.array(list(self._forced), dtype=np.int64)
            self._row_lengths = np.array(lengths, dtype=np.int64)
            self._made = [made for _, made in self._forced.values()]
        if not self._forced:
            self._kinds = None
            return
        made = np.fromiter(map(len, self._made), np.int64, len(self._made))
        rows = np.full(self._batch_size, FREE)
        rows[self._rows] = kinds_of(made, self._row_lengths, np.where)
        kinds = torch.from_numpy(rows)
        if self._pin:  # anew each step: the copy of the last one may still be under way
            kinds = kinds.pin_memory()
        self._kinds = kinds.to(self._device, non_blocking=True)

    def _begin(
        self, params: Any, prompt_ids: list[int] | None, made: list[int]
    ) -> tuple[int, list[int]] | None:
        explicit = _length_of(params.extra_args)
        if explicit is None and (not prompt_ids or prompt_ids[-1] != self._tts_start):
            return None
        length = explicit or self._default or params.max_tokens
        return None if length is None else (length, made)

    # Model Runner V2

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Note the length of the request in a slot; whether it speaks is read on the device."""
        explicit = _length_of(sampling_params.extra_args)
        length = explicit or self._default or sampling_params.max_tokens or 0
        self._host[:, req_idx] = length, explicit is not None
        self._staged = True
        return length > 0

    def apply_staged_writes(self) -> None:
        """Bring the lengths of new requests to the device."""
        if self._staged:
            self._slots.copy_(torch.from_numpy(self._host))
            self._staged = False

    def _kinds_of_slots(self, ctx: Any) -> Tensor:
        slots = ctx.expanded_idx_mapping.long()
        prompt_length = self._requests.prompt_len.gpu[slots].long()
        prompt_end = self._requests.all_token_ids.gpu[slots, prompt_length - 1]
        lengths, explicit = self._slots[:, slots]
        speaks = (explicit > 0) | (prompt_end == self._tts_start)
        made = ctx.pos.long() + 1 - prompt_length  # below 0 while a long prompt is being read
        return kinds_of(made, torch.where(speaks, lengths, 0))


def kinds_of(made: Any, lengths: Any, where: Callable[..., Any] = torch.where) -> Any:
    """What may come after `made` tokens of an answer of `lengths`; a length of 0 forces nothing.

    All [rows] int64, torch's on the device or, with its `where`, numpy's on the host, where 128
    rows cost a tenth of torch's time. The result is `TEXT` … `FREE`.
    """
    speaking = where(made % PERIOD == 0, TEXT, AUDIO)
    ending = where(made == lengths, TTS_END, TURN_END)
    return where(lengths > 0, where(made < lengths, speaking, ending), FREE)


def forbidden_ids(special: SpecialTokens, text_ids: Sequence[int], vocab_size: int) -> Tensor:
    """Which ids each kind of token may not be: [KINDS, vocab_size] bool."""
    forbidden = torch.ones(KINDS, vocab_size, dtype=torch.bool)
    forbidden[TEXT, torch.tensor(text_ids)] = False
    forbidden[AUDIO, special.audio_first : special.audio_pad] = False
    forbidden[TTS_END, special.tts_end] = False
    forbidden[TURN_END, special.turn_end] = False
    forbidden[FREE] = False
    return forbidden


def _length_of(options: Any) -> int | None:
    length = options.get(OPTION) if isinstance(options, dict) else None
    if length is not None and (type(length) is not int or length < 1):
        raise ValueError(f"{OPTION} must be a whole number above 0, not {length!r}")
    return length


def read_tokenizer(model: Any) -> tuple[SpecialTokens, list[int]]:
    """The special ids, and the ids of text that is whole characters: all of it can be shown."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(model.tokenizer, revision=model.tokenizer_revision)
    tokenizer = loaded.backend_tokenizer
    vocabulary = TextVocabulary(tokenizer)
    ids = range(tokenizer.get_vocab_size(with_added_tokens=True))
    return SpecialTokens.from_tokenizer(tokenizer), [i for i in ids if _is_text(vocabulary, i)]


def _is_text(vocabulary: TextVocabulary, token_id: int) -> bool:
    try:
        return bool((vocabulary.bytes_of(token_id) or b"").decode())
    except UnicodeDecodeError:
        return False
