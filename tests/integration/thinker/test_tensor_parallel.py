"""The real engine on two ranks: `tensor_parallel_size` in `engine_kwargs`, on the CPU.

On nano in float32: its two key-value heads are divided as those of the published sizes are (tiny's
one head would be copied), and a trained model's best token is so far ahead of the second that no
other order of a sum changes it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from deployments.audio_decoding import decode_audio
from deployments.messages import INPUT_SAMPLE_RATE_HZ, SamplingOptions, ThinkerRequest
from deployments.model_files import ModelFiles
from deployments.thinker import tasks
from deployments.thinker.engine import VllmEngine
from deployments.thinker.thinker_config import ThinkerConfig
from tests.integration.thinker.conftest import collect, ids_of
from tests.integration.thinker.rank_weights import RankWeights
from tests.integration.thinker.reference import ReferenceThinker
from tests.places import NANO

RANKS = 2
TOKENS = 40
GREEDY = SamplingOptions(temperature=0.0, top_p=1.0, repetition_penalty=1.0, max_tokens=TOKENS)
SENTENCE = "Please open the window."

BY_ROWS = ("qkv_proj", "gate_up_proj", "embed_tokens", "lm_head")
BY_COLUMNS = ("o_proj", "down_proj")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano's Thinker in float32, whose values bfloat16 holds exactly."""
    directory = tmp_path_factory.mktemp("nano-float32")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (directory / name).write_bytes((NANO / name).read_bytes())
    config = json.loads((NANO / "config.json").read_text())
    for section in (config, config["text_config"]):
        section["torch_dtype"] = "float32"
    (directory / "config.json").write_text(json.dumps(config))
    weights = load_file(NANO / "model-00001-of-00001.safetensors")
    whole = {name: value.float() for name, value in weights.items()}
    save_file(whole, directory / "model.safetensors")
    return directory


@pytest.fixture(scope="module")
async def engine(model: Path) -> AsyncIterator[VllmEngine]:
    arguments = {
        "tensor_parallel_size": RANKS,
        "max_model_len": 1024,
        "worker_extension_cls": f"{RankWeights.__module__}.{RankWeights.__name__}",
    }
    engine = VllmEngine(ModelFiles(model), ThinkerConfig(engine_kwargs=arguments))
    async with asyncio.timeout(200):
        await engine.start()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    samples, _ = decode_audio((NANO / "voices" / "low.wav").read_bytes(), INPUT_SAMPLE_RATE_HZ)
    return samples


def turn(system: str, human: str, reply: str = "") -> str:
    """A prompt of one turn as the reference reads it."""
    parts = (f"<|BOT|>system\n{system}<|EOT|>", f"<|BOT|>human\n{human}<|EOT|>")
    return "".join(parts) + f"<|BOT|>assistant\n{reply}"


async def test_two_ranks_write_what_one_definition_writes(engine, model, recording):
    reference = ReferenceThinker(model)
    requests = (
        ThinkerRequest("text", tasks.converse(SENTENCE), sampling=GREEDY),
        ThinkerRequest("speech", tasks.speak(SENTENCE), "speech", GREEDY),
        ThinkerRequest("recording", tasks.transcribe(recording), sampling=GREEDY),
    )
    expected = [
        reference.greedy(turn(tasks.CONVERSE, SENTENCE), [], TOKENS),
        reference.greedy(turn(tasks.SPEAK, SENTENCE, "<tts_start>"), [], TOKENS),
        reference.greedy(turn(tasks.TRANSCRIBE, "<audio>"), [recording], TOKENS),
    ]
    together = await asyncio.gather(*(collect(engine, request) for request in requests))
    assert [ids_of(answer) for answer in together] == expected
    assert all(len(set(ids)) > 4 for ids in expected)
    heard = "".join(delta.text for delta in together[2])
    assert heard.strip() == (NANO / "voices" / "low.txt").read_text().strip()


async def test_each_rank_has_its_share_of_the_decoder_and_the_whole_encoder(engine, model):
    process_ids = await engine._runner.llm.collective_rpc("process_id")
    assert len(set(process_ids)) == RANKS
    first, second = await engine._runner.llm.collective_rpc("matrix_shapes")
    assert first == second
    weights = load_file(model / "model.safetensors")
    published = {name: list(value.shape) for name, value in weights.items() if value.dim() > 1}
    heard = {name for name in published if name.startswith(("encoder.", "adapter."))}
    assert {name: first[name] for name in heard} == {name: published[name] for name in heard}
    decoder = first.keys() - heard
    layers = json.loads((model / "config.json").read_text())["text_config"]["num_hidden_layers"]
    assert len(decoder) == 4 * layers + 2
    for name in decoder:
        rows, columns = whole_shape(name, published)
        layer = name.split(".")[-2]
        if layer in BY_ROWS:
            assert first[name] == [rows // RANKS, columns], name
        else:
            assert layer in BY_COLUMNS
            assert first[name] == [rows, columns // RANKS], name


def whole_shape(name: str, published: dict[str, list[int]]) -> list[int]:
    """The undivided shape of a matrix of vLLM's Qwen2, which joins some published ones."""
    name = name.removeprefix("language_model.")
    for joined, parts in (
        ("qkv_proj", ("q_proj", "k_proj", "v_proj")),
        ("gate_up_proj", ("gate_proj", "up_proj")),
    ):
        if joined in name:
            shapes = [published[name.replace(joined, part)] for part in parts]
            return [sum(shape[0] for shape in shapes), *shapes[0][1:]]
    return published[name]
