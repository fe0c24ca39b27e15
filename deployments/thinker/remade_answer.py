"""An answer that is made again from its beginning, after another replica made some of it."""

from collections.abc import Sequence
from dataclasses import replace

from deployments.errors import EngineFailed
from deployments.thinker.answer import EngineOutput


class Remade:
    """Holds back what was made before, which has to come again id for id.

    vLLM follows a constraint, such as a JSON Schema, from the beginning of an answer alone.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        """`ids`: all that were made before."""
        self.ids = tuple(ids)
        self._seen = 0

    @property
    def complete(self) -> bool:
        """Whether all of them have come again."""
        return self._seen == len(self.ids)

    def take(self, output: EngineOutput) -> EngineOutput | None:
        """What of `output` is new; None until all ids have come again.

        Raises:
            EngineFailed: the model makes another answer, as it may where tokens are drawn freely.
        """
        again = self.ids[self._seen : self._seen + len(output.token_ids)]
        self._seen += len(again)
        too_short = output.finish_reason is not None and not self.complete
        if again != output.token_ids[: len(again)] or too_short:
            raise EngineFailed("the beginning of the answer could not be made again as it was")
        new = replace(output, token_ids=output.token_ids[len(again) :])
        return new if self.complete else None
