"""The benchmark's logits processor through vLLM's own interfaces, without an engine."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality
from vllm.v1.sample.logits_processor import LogitsProcessor as RowProcessor

from deployments.thinker.tokens import SpecialTokens
from serve_app.bench.forced_speech import OPTION, ForcedSpeech, kinds_of
from serve_app.checkpoint.tokenizer import write_tokenizer
from serve_app.checkpoint.vocabulary import small_vocabulary

slots = pytest.importorskip("vllm.v1.worker.gpu.sample.logits_processor.interface")

VOCABULARY = small_vocabulary()
SPECIAL = SpecialTokens.from_tokenizer(SimpleNamespace(get_vocab=lambda: VOCABULARY.ids))
SPOKEN = [5, 6, SPECIAL.tts_start]
WRITTEN = [5, 6, 7]
Make = Callable[..., ForcedSpeech]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    directory = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(Path(directory), VOCABULARY, max_tokens=1024)
    model = SimpleNamespace(
        tokenizer=str(directory), tokenizer_revision=None, get_vocab_size=lambda: VOCABULARY.size
    )
    return lambda **options: SimpleNamespace(model_config=model, additional_config=options)


@pytest.fixture
def processor(config: Callable[..., Any]) -> ForcedSpeech:
    return ForcedSpeech(config(), torch.device("cpu"), False)


def parameters(tokens: int | None = None, max_tokens: int = 64) -> SamplingParams:
    extra = {OPTION: tokens} if tokens else None
    return SamplingParams(max_tokens=max_tokens, extra_args=extra)


def update(batch_size: int, *, added: Any = (), removed: Any = (), moved: Any = ()) -> BatchUpdate:
    return BatchUpdate(batch_size=batch_size, removed=removed, added=added, moved=moved)


def allowed(processor: ForcedSpeech, rows: int) -> list[str]:
    """What kind of token the processor leaves each row, in one letter."""
    logits = processor.apply(torch.randn(rows, VOCABULARY.size))
    return [letter(set(torch.isfinite(row).nonzero().flatten().tolist())) for row in logits]


def letter(ids: set[int]) -> str:
    if ids == set(range(SPECIAL.audio_first, SPECIAL.audio_pad)):
        return "a"
    if ids == {SPECIAL.tts_end}:
        return "."
    if ids == {SPECIAL.turn_end}:
        return "!"
    if len(ids) == VOCABULARY.size:
        return "*"
    assert ids <= set(range(len(VOCABULARY.text))), "a text token is never a special one"
    return "t"


def answer(processor: ForcedSpeech, made: list[int], steps: int) -> str:
    """The kinds of one row's next `steps` tokens, as vLLM runs it."""
    kinds = ""
    for _ in range(steps):
        kinds += allowed(processor, 1)[0]
        made.append(-1)  # what async scheduling puts there until the id is known
        processor.update_state(None)
    return kinds


def test_an_answer_has_the_wanted_length_and_ends_properly(processor: ForcedSpeech) -> None:
    made: list[int] = []
    processor.update_state(update(1, added=[(0, parameters(12), SPOKEN, made)]))
    assert answer(processor, made, 15) == "taaaataaaata.!!"


def test_a_text_token_is_whole_characters(processor: ForcedSpeech) -> None:
    processor.update_state(update(1, added=[(0, parameters(5), SPOKEN, [])]))
    logits = processor.apply(torch.zeros(1, VOCABULARY.size))
    ids = torch.isfinite(logits[0]).nonzero().flatten().tolist()
    ascii_and_syllables = 128 + len(VOCABULARY.syllables)  # the other bytes are half characters
    assert len(ids) == ascii_and_syllables


def test_without_an_option_the_length_is_the_requests_max_tokens(processor: ForcedSpeech) -> None:
    made: list[int] = []
    processor.update_state(update(1, added=[(0, parameters(max_tokens=7), SPOKEN, made)]))
    assert answer(processor, made, 7) == "taaaata"


def test_the_engines_default_is_preferred_to_max_tokens(config: Callable[..., Any]) -> None:
    processor = ForcedSpeech(config(**{OPTION: 3}), torch.device("cpu"), False)
    made: list[int] = []
    processor.update_state(update(1, added=[(0, parameters(), SPOKEN, made)]))
    assert answer(processor, made, 5) == "taa.!"


def test_a_written_answer_is_free_unless_it_asks(processor: ForcedSpeech) -> None:
    added = [(0, parameters(), WRITTEN, []), (1, parameters(5), WRITTEN, [])]
    processor.update_state(update(2, added=added))
    assert allowed(processor, 2) == ["*", "t"]


def test_rows_keep_their_place_while_requests_come_move_and_go(processor: ForcedSpeech) -> None:
    first, second, third = [1], [1] * 6, [1] * 5
    added = [
        (0, parameters(6), SPOKEN, first),
        (1, parameters(6), SPOKEN, second),
        (2, parameters(), WRITTEN, []),
        (3, parameters(6), SPOKEN, third),
    ]
    processor.update_state(update(4, added=added))
    assert allowed(processor, 4) == ["a", ".", "*", "t"]

    processor.update_state(update(4, moved=[(0, 3, MoveDirectionality.SWAP)]))
    assert allowed(processor, 4) == ["t", ".", "*", "a"]

    # the request in row 1 has ended; the last row takes its place
    shrink = update(3, removed=[1], moved=[(3, 1, MoveDirectionality.UNIDIRECTIONAL)])
    processor.update_state(shrink)
    assert allowed(processor, 3) == ["t", "a", "*"]

    processor.update_state(update(3, added=[(0, parameters(), WRITTEN, [])]))  # replaced
    assert allowed(processor, 3) == ["*", "a", "*"]

    processor.update_state(update(2, removed=[1]))
    assert allowed(processor, 2) == ["*", "*"]


def test_a_resumed_request_goes_on_where_it_was(processor: ForcedSpeech) -> None:
    made = [1] * 10
    processor.update_state(update(1, added=[(0, parameters(12), SPOKEN, made)]))
    assert answer(processor, made, 4) == "ta.!"


def test_what_stays_allowed_keeps_its_logits(processor: ForcedSpeech) -> None:
    processor.update_state(update(1, added=[(0, parameters(5), SPOKEN, [1])]))
    before = torch.randn(1, VOCABULARY.size)
    after = processor.apply(before.clone())
    finite = torch.isfinite(after)
    assert torch.equal(after[finite], before[finite])


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "315", True])
def test_a_length_that_is_no_whole_number_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=OPTION):
        ForcedSpeech.validate_params(SamplingParams(extra_args={OPTION: wrong}))


def test_both_runners_accept_the_class() -> None:
    assert issubclass(ForcedSpeech, RowProcessor)
    assert issubclass(ForcedSpeech, slots.LogitsProcessor)


def requests_of(prompts: list[list[int]], capacity: int) -> Any:
    """The state that Model Runner V2 shares, with plain tensors for its buffers."""
    all_ids = torch.zeros(capacity, 32, dtype=torch.int32)
    lengths = torch.zeros(capacity, dtype=torch.int32)
    for slot, prompt in enumerate(prompts):
        all_ids[slot, : len(prompt)] = torch.tensor(prompt, dtype=torch.int32)
        lengths[slot] = len(prompt)
    return slots.LogitsProcRequestState(
        device=torch.device("cpu"),
        max_num_reqs=capacity,
        vocab_size=VOCABULARY.size,
        all_token_ids=SimpleNamespace(gpu=all_ids),
        prompt_len=SimpleNamespace(gpu=lengths),
        prefill_len=SimpleNamespace(gpu=lengths),
        total_len=SimpleNamespace(gpu=lengths),
    )


def rows_of(mapping: list[int], positions: list[int]) -> Any:
    index = torch.tensor(mapping, dtype=torch.int32)
    return slots.LogitsContext(
        expanded_idx_mapping=index,
        idx_mapping=index,
        idx_mapping_np=index.numpy(),
        expanded_local_pos=torch.zeros_like(index),
        input_ids=torch.zeros_like(index),
        pos=torch.tensor(positions, dtype=torch.int64),
        seq_lens_upper_bound_np=index.numpy(),
    )


def test_model_runner_v2_forces_by_slot_and_position(config: Callable[..., Any]) -> None:
    processor = ForcedSpeech(config(), requests_of([SPOKEN, WRITTEN, [1] * 9, SPOKEN], 8))
    for slot, tokens in enumerate((6, None, 6, 6)):
        assert processor.add_request(slot, parameters(tokens))
    processor.apply_staged_writes()

    def kinds(mapping: list[int], positions: list[int]) -> list[str]:
        context = rows_of(mapping, positions)
        logits = processor.apply(torch.randn(len(mapping), VOCABULARY.size), context)
        return [letter(set(torch.isfinite(row).nonzero().flatten().tolist())) for row in logits]

    # a prompt of 3 ends at position 2, where the first token of the answer is drawn
    assert kinds([0, 1], [2, 2]) == ["t", "*"]
    assert kinds([2, 0, 3], [8 + 4, 2 + 5, 2 + 6]) == ["a", "t", "."]
    assert kinds([3], [2 + 7]) == ["!"]

    processor.add_request(0, parameters(max_tokens=2))  # the slot's next request
    processor.apply_staged_writes()
    assert kinds([0], [2 + 2]) == ["."]


def test_a_length_of_zero_forces_nothing() -> None:
    assert kinds_of(torch.tensor([0, 3]), torch.tensor([0, 0])).tolist() == [4, 4]
