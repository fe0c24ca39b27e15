"""The Thinker in training sees what vLLM's sees."""

import torch

from deployments.thinker.vllm_plugin.lengths import num_embeddings
from tests.nano.corpus.store import Corpus
from tests.nano.thinker_batches import Ear
from tests.nano.thinker_examples import Examples
from tests.nano.thinker_model import Thinker
from tests.unit.nano.chirps import CPU, drawn


@torch.inference_mode()
def test_embeddings_stand_where_vllm_puts_them(
    examples: Examples, chirps: Corpus, model: Thinker
) -> None:
    plan, batch = drawn(examples)
    mels, frames = Ear(chirps.speech_bank(CPU)).hear(batch, roughly=False)
    embedded = model.embed(batch, batch.token_ids, model.adapter(model.encoder(mels, frames)))
    words = model.language.model.embed_tokens(batch.token_ids)
    patch = examples.writer.special.audio_patch
    for row in range(len(plan.prompts)):
        place = batch.token_ids[row] == patch
        torch.testing.assert_close(embedded[row, ~place], words[row, ~place])
        if row < len(plan.utterances):
            count = num_embeddings(int(frames[row]))
            mel = mels[row : row + 1, :, : frames[row]]
            alone = model.adapter(model.encoder(mel, frames[row : row + 1]))[0, :count]
            assert place.sum() == count
            torch.testing.assert_close(embedded[row, place], alone, atol=1e-4, rtol=1e-4)
        else:
            assert not place.any()
