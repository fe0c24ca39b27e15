"""The official `step-audio2` package behind the methods of our own engine.

One stream at a time and several times slower: the oracle of the parity tests, and a second
opinion on ours. The package's `token2wav.py` needs CUDA and torchaudio, so its
modules are driven from here; voices, noise and cross-fade are ours.
"""

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from deployments.errors import ConfigError, VoiceUnusable
from deployments.token2wav.contract import EngineOptions, StepInput
from deployments.token2wav.functional import (
    SAMPLES_PER_FRAME,
    FlowConfig,
    HiftConfig,
    HiftInput,
    HiftState,
)
from deployments.token2wav.functional.cfm import seeded_noise, trim
from deployments.token2wav.functional.flow import EULER_STEPS, check_chunk
from deployments.token2wav.functional.functional_engine import (
    USUAL_STREAMS,
    FunctionalOutput,
    PreparedVoice,
    StreamState,
)
from deployments.token2wav.functional.hift_stream import emit
from deployments.token2wav.functional.published_weights import (
    read_flow_config,
    read_hift,
    read_weights,
)
from deployments.token2wav.functional.source import SourceNoise
from deployments.token2wav.voice import VoiceEncoder, VoicePrompt

BUFFER_FRAMES = 1000  # the package's own: prompt, history and chunk together
LONGEST_VOICE_S = 15.0  # 750 of those frames, 100 of history, 150 for a chunk of 3 s
_CACHES = ("conformer_cnn_cache", "conformer_att_cache", "estimator_cnn_cache")
_HISTORY = "estimator_att_cache"
Caches = dict[str, Tensor]


class ReferenceEngine:
    """Has the methods of `FunctionalEngine`; states are values here too."""

    rows_share_a_step = False

    def __init__(
        self,
        flow: nn.Module,
        hift: nn.Module,
        noise: SourceNoise,
        voices: VoiceEncoder,
        config: FlowConfig,
        *,
        max_streams: int,
    ) -> None:
        self.max_streams = max_streams
        self._flow = flow
        self._hift = hift
        self._noise = noise
        self._voices = voices
        self._config = config
        self.codebook_size = config.vocab_size
        self.lookahead = config.encoder.pre_lookahead_len

    @classmethod
    def load(cls, options: EngineOptions) -> "ReferenceEngine":
        """As `FunctionalEngine.load`; voices end at 15 s, where the package's buffers do.

        Raises:
            ConfigError: the package cannot be imported, or a file is missing or damaged.
        """
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)
        folder = options.token2wav_dir
        config = read_flow_config(folder)
        flow_weights = read_weights(folder / "flow.pt")
        hift_config, hift_weights = read_hift(folder)
        flow = official_flow(config, flow_weights, seed=options.seed)
        flow = flow.to(device=options.device, dtype=getattr(torch, options.dtype))
        hift = official_hift(hift_config, hift_weights).to(options.device)
        noise = SourceNoise(
            hift_config.harmonics, seed=options.seed, device=torch.device(options.device)
        )
        limits = options.reference_audio
        shorter = limits.model_copy(update={"max_s": min(limits.max_s, LONGEST_VOICE_S)})
        voices = VoiceEncoder.load(
            replace(options, reference_audio=shorter), codebook_size=config.vocab_size
        )
        most = options.max_streams or USUAL_STREAMS
        return cls(flow, hift, noise, voices, config, max_streams=most)

    def encode_voice(self, data: bytes) -> VoicePrompt:
        """As `StepEngine.encode_voice`: the recording alone, for the package's buffers are one."""
        return self._voices.encode(data)

    def place_voice(self, prompt: VoicePrompt) -> Generator[None, None, PreparedVoice]:
        """As `FunctionalEngine.prepare_prompt`, in one piece: the package does not stop."""
        yield from ()
        codes = torch.cat((prompt.codes, prompt.codes[: self.lookahead]))
        with self._running():
            caches = self._flow.setup_cache(
                self._on_device(codes),
                self._on_device(prompt.mel),
                self._on_device(prompt.embedding),
                n_timesteps=EULER_STEPS,
            )
        if not all(cache.isfinite().all() for cache in caches.values()):
            raise VoiceUnusable("tokens make the flow overflow")
        return PreparedVoice(prompt, _copied(caches))

    def open(self, voice: PreparedVoice) -> StreamState:
        """As `FunctionalEngine.open`."""
        weight = self._hift.m_source.l_linear.weight
        mels = self._config.output_size
        silence = HiftState(weight.new_zeros(0, mels), weight.new_zeros(0), weight.new_zeros(0), 0)
        return StreamState(voice, voice.flow, silence)

    def close(self, state: StreamState) -> None:
        """As `FunctionalEngine.close`."""

    def step(self, rows: Sequence[StepInput]) -> list[FunctionalOutput]:
        """As `FunctionalEngine.step`, one row after another."""
        for row in rows:
            tokens = torch.tensor(row.tokens, dtype=torch.int64)
            check_chunk(tokens, last=row.last, config=self._config)
        return [self._step(row) for row in rows]

    def synthesize(self, tokens: Sequence[int], voice: PreparedVoice) -> Tensor:
        """As `FunctionalEngine.synthesize`."""
        chosen = torch.tensor(tokens, dtype=torch.int64)
        check_chunk(chosen, last=True, config=self._config)
        prompt = voice.prompt
        parts = [self._on_device(x) for x in (chosen, prompt.codes, prompt.mel)]
        lengths = [torch.tensor([x.shape[1]], device=x.device) for x in parts]
        with self._running():
            mel = self._flow.inference(
                parts[0],
                lengths[0],
                parts[1],
                lengths[1],
                parts[2],
                lengths[2],
                self._on_device(prompt.embedding),
                EULER_STEPS,
            )
        sound, _ = self._vocode(mel.float(), mel.new_zeros(1, 1, 0).float(), frame=0)
        return sound[0].cpu()

    def _step(self, row: StepInput) -> FunctionalOutput:
        prompt = row.state.voice.prompt
        with self._running():
            chunk, caches = self._flow.inference_chunk(
                self._on_device(torch.tensor(row.tokens, dtype=torch.int64)),
                self._on_device(prompt.embedding),
                row.state.flow,
                last_chunk=row.last,
                n_timesteps=EULER_STEPS,
            )
        caches = _copied(caches, prompt_frames=len(prompt.mel))
        overlap: HiftState = row.state.vocoder
        mel = torch.cat((overlap.mel, chunk[0].T.float()))
        sound, source = self._vocode(mel.T[None], overlap.source[None, None], overlap.frame)
        fresh = HiftInput(mel[len(overlap.mel) :], row.last, overlap)
        samples, vocoder = emit(fresh, mel, source[0, 0], sound[0])
        return FunctionalOutput.of(samples.cpu(), StreamState(row.state.voice, caches, vocoder))

    def _vocode(self, mel: Tensor, past_source: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        noise = self._noise.at(frame * SAMPLES_PER_FRAME, mel.shape[2] * SAMPLES_PER_FRAME)
        with official_draws(noise):
            return self._hift(mel, past_source)

    def _on_device(self, value: Tensor) -> Tensor:
        like = self._flow.encoder_proj.weight
        return value[None].to(like if value.is_floating_point() else like.device)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        like = self._flow.encoder_proj.weight
        half = torch.autocast(like.device.type, like.dtype, enabled=like.dtype == torch.float16)
        # The official encoder is wrapped in torch.compile, which here would only trace.
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"), half:
            yield


def official_flow(config: FlowConfig, weights: Mapping[str, Tensor], *, seed: int) -> Any:
    """The official flow module with our noise of `seed`.

    Raises:
        ConfigError: the package cannot be imported, or the weights do not fit.
    """
    classes = _import_official()
    encoder, dit = config.encoder, config.dit
    estimator = classes["DiT"](**{name: getattr(dit, name) for name in dit.__slots__})
    decoder = classes["CausalConditionalCFM"](estimator, config.inference_cfg_rate)
    # Its cache buffers have the published sizes whatever its arguments are.
    history = (2, dit.num_heads, BUFFER_FRAMES, 2 * dit.head_dim)
    conv = (2, 2 * dit.hidden_size, 2)
    for module, lead in ((estimator, (dit.depth,)), (decoder, (EULER_STEPS, dit.depth))):
        module.register_buffer("att_cache_buffer", torch.zeros(*lead, *history), persistent=False)
        module.register_buffer("cnn_cache_buffer", torch.zeros(*lead, *conv), persistent=False)
    decoder.rand_noise = seeded_noise(config.output_size, seed).T[None].contiguous()
    flow = classes["CausalMaskedDiffWithXvec"](
        input_size=config.input_size,
        output_size=config.output_size,
        spk_embed_dim=config.spk_embed_dim,
        vocab_size=config.vocab_size,
        encoder=classes["UpsampleConformerEncoderV2"](
            **{name: getattr(encoder, name) for name in encoder.__slots__}
        ),
        decoder=decoder,
    )
    return _filled(flow, weights)


def official_hift(config: HiftConfig, weights: Mapping[str, Tensor]) -> Any:
    """The official vocoder module.

    Raises:
        ConfigError: the package cannot be imported, or the weights do not fit.
    """
    classes = _import_official()
    predictor = classes["ConvRNNF0Predictor"](1, config.mels, config.f0_channels)
    hift = classes["HiFTGenerator"](
        in_channels=config.mels,
        base_channels=config.base_channels,
        nb_harmonics=config.harmonics - 1,
        f0_predictor=predictor,
    )
    return _filled(hift, weights)


@contextlib.contextmanager
def official_draws(noise: Tensor) -> Iterator[None]:
    """Make the official source module take `noise` [N, harmonics] where it would draw its own.

    Only the name `torch` inside that one module is replaced, for the time of the block.
    """
    layers = _import_official()["layers"]
    layers.torch = _TorchWithDraws(noise)
    try:
        yield
    finally:
        layers.torch = torch


class _TorchWithDraws:
    """`torch`, except for the Gaussian noise of the harmonics."""

    def __init__(self, noise: Tensor) -> None:
        self._noise = noise

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, like: Tensor) -> Tensor:
        if like.shape[-1] == self._noise.shape[-1]:
            return self._noise.reshape(like.shape)
        return torch.randn_like(like)  # of the noise branch, which the vocoder never reads


def _import_official() -> dict[str, Any]:
    try:
        from cosyvoice2.flow.decoder_dit import DiT
        from cosyvoice2.flow.flow import CausalMaskedDiffWithXvec
        from cosyvoice2.flow.flow_matching import CausalConditionalCFM
        from cosyvoice2.transformer.upsample_encoder_v2 import UpsampleConformerEncoderV2
        from flashcosyvoice.modules.hifigan import ConvRNNF0Predictor, HiFTGenerator
        from flashcosyvoice.modules.hifigan_components import layers
    except ImportError as error:
        raise ConfigError(
            "token2wav.engine is reference, but the official package cannot be imported "
            f"({error}); `pip install --no-deps step-audio2==1.0.0 einops` brings it"
        ) from error
    known: tuple[type | ModuleType, ...] = (
        DiT,
        CausalMaskedDiffWithXvec,
        CausalConditionalCFM,
        UpsampleConformerEncoderV2,
        ConvRNNF0Predictor,
        HiFTGenerator,
    )
    return {item.__name__: item for item in known} | {"layers": layers}


def _filled(module: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ConfigError(f"the weights do not fit the official model: {error}") from error
    return module.eval().requires_grad_(False)


def _copied(caches: Caches, prompt_frames: int | None = None) -> Caches:
    """Caches out of the package's buffers, which its next call overwrites; history trimmed."""
    copied = {name: caches[name].clone() for name in _CACHES}
    history = caches[_HISTORY]
    if prompt_frames is not None:
        history = trim(history, prompt_frames)
    return copied | {_HISTORY: history.clone()}
