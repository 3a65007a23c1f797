"""The prompts of the classes, whose first words are vectors that can be tuned."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdst_core.errors import KdstError


class Prompts:
    """Prompts `CONTEXT NAME.` of all classes; the context is the same for each.

    start: the token embeddings (n, E) of the context's words, from which tuning begins.
    """

    def __init__(
        self,
        text: Callable[[str], tuple[Tensor, Callable[[Tensor], Tensor]]],
        context: str,
        like: Tensor,
    ) -> None:
        """text: of a request. like: a tensor of the device and type to compute with.

        KdstError for a context that cannot be tuned.
        """
        if "{}" in context or not context.strip():
            raise KdstError(
                f"--context {context!r} must be words that stand before the name of the class, such as"
                " 'a photo of a'"
            )
        embeddings, self._read = text(f"{context.strip()} {{}}.")
        alone = text(context.strip())[0][0, 1:-1].to(like)
        self._embeddings = embeddings.to(like)
        end = 1 + len(alone)
        if not torch.equal(self._embeddings[:, 1:end], alone.expand(len(embeddings), -1, -1)):
            raise KdstError(
                f"--context {context!r} runs into the names of the classes: its last token is no whole"
                " word.\nEnd it with a word"
            )
        self.start, self._begin = alone, self._embeddings[:, :1]
        self._rest = self._embeddings[:, end:]

    def features(self, context: Tensor) -> Tensor:
        """Return text features (num_classes, D), each of length 1, under context vectors (n, E)."""
        shared = context.expand(len(self._rest), -1, -1)
        return self._read(torch.cat([self._begin, shared, self._rest], 1))
