"""Training pairs as batches: token ids stored flat, batches of texts of like length."""

from collections.abc import Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor

from kdst_vec2text.models import Corrector, Hypothesiser, Inverter
from kdst_vec2text.tokens import padded

POOL = 50
"""Batches that are cut from one pool of texts sorted by length."""
NO_LABEL = -100


@frozen
class Ragged:
    """Rows of token ids: ids (total,), offsets (n + 1,)."""

    ids: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Store rows flat."""
        lengths = torch.tensor([0, *map(len, rows)])
        flat = [i for row in rows for i in row]
        return cls(torch.tensor(flat, dtype=torch.int32), lengths.cumsum(0))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row (n,)."""
        return self.offsets.diff()

    def row(self, i: int) -> list[int]:
        """Token ids of one row."""
        found: list[int] = self.ids[int(self.offsets[i]) : int(self.offsets[i + 1])].tolist()
        return found

    def rows(self, indices: Sequence[int], fill: int = 0) -> Tensor:
        """Rows as one (B, T) int64 tensor, filled up at the end."""
        return padded([self.row(i) for i in indices], fill)


@frozen
class Examples:
    """Texts x with embeddings e (n, D), and for a corrector hypotheses x̂ with embeddings ê (m, D).

    source: (m,) the text that each hypothesis is of; without hypotheses an example is a text.
    """

    texts: Ragged
    e: Tensor
    x_hat: Ragged | None = None
    e_hat: Tensor | None = None
    source: Tensor | None = None

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.texts) if self.x_hat is None else len(self.x_hat)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each example's text (n,)."""
        lengths = self.texts.lengths
        return lengths if self.source is None else lengths[self.source]

    def batches(self, size: int, generator: torch.Generator) -> list[list[int]]:
        """All examples in random batches of texts of like length."""
        order = torch.randperm(len(self), generator=generator)
        lengths = self.lengths
        found: list[list[int]] = []
        for pool in order.split(size * POOL):
            ranked = pool[lengths[pool].argsort(stable=True)]
            found += [batch.tolist() for batch in ranked.split(size)]
        return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]

    def inputs(
        self,
        network: Inverter,
        batch: Sequence[int],
        noise: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Encoder input and labels (B, T) of a batch; noise is added to e alone, see `noisy`."""
        device = next(network.parameters()).device
        rows = list(batch) if self.source is None else self.source[list(batch)].tolist()
        e = noisy(self.e[rows].float(), noise, generator)
        labels = self.texts.rows(rows, NO_LABEL).to(device)
        e = e.to(device)
        if isinstance(network, Hypothesiser):
            return network.inputs(e), labels
        assert isinstance(network, Corrector)
        assert self.x_hat is not None
        assert self.e_hat is not None
        e_hat = self.e_hat[list(batch)].float().to(device)
        return network.inputs(e, e_hat, self.x_hat.rows(batch).to(device)), labels

    def in_order(self, size: int) -> Iterator[list[int]]:
        """All examples in their order, in batches."""
        for start in range(0, len(self), size):
            yield list(range(start, min(start + size, len(self))))


def noisy(e: Tensor, noise: float, generator: torch.Generator | None) -> Tensor:
    """e + λ N(0, I) for embeddings (B, D), with a λ for each row between 0 and `noise`.

    Each row keeps its length, as an attacker can give any vector the length that he was trained on. One
    trained so has met every strength of the defence up to `noise`.
    """
    if not noise:
        return e
    strength = noise * torch.rand(len(e), 1, generator=generator)
    shifted = e + strength * torch.randn(e.shape, generator=generator)
    return shifted * (e.norm(dim=1, keepdim=True) / shifted.norm(dim=1, keepdim=True))
