"""Damage to a running model, for tests: named as `worker_extension_cls`, so workers inherit it."""

from typing import Any


class Damage:
    """What a test does to each worker through `collective_rpc`."""

    def forget_a_token(self: Any, token_id: int) -> None:
        """Make one token's embedding NaN: only prompts that hold it are not finite."""
        decoder = self.model_runner.get_model().language_model.model
        decoder.embed_tokens.weight.data[token_id] = float("nan")

    def talk_nonsense(self: Any) -> None:
        """Turn every hidden state round: answers stay finite and mean nothing."""
        decoder = self.model_runner.get_model().language_model.model
        decoder.norm.weight.data.neg_()
