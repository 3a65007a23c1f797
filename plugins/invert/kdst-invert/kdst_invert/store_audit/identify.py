"""Which embedder made a store's vectors, and whether its rows belong to its texts."""

from collections.abc import Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import normalize

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_invert.embedders.choose import Prefixed

SAMPLE = 32
"""Texts that are embedded with every candidate."""
SAME = 0.98
"""Cosine from which a row is the embedding of a text: half precision and int8 keep above it."""
MOST = 0.5
"""Share of the sample that must agree; by chance next to none does."""
PREFIXES = ("", "passage: ", "query: ", "search_document: ", "title: none | text: ")
"""What embedders are known to be given before a text."""
ELSEWHERE = 0.1
"""Share of the sample from which on vectors that lie in other rows are taken for another order."""
RELATED = 200
"""Rows whose likeness is compared with that of their texts where no embedder fits."""
SHUFFLES = 199
"""Permutations of the test for rows that belong to other texts; its level is 1 in 200."""


@frozen
class Identity:
    """An embedder that was recognised. cosine: mean over the sample. rows: how many were compared.
    foreign: those of them that hold no vector of their text."""

    embedder: Embedder
    prefix: str
    cosine: float
    rows: int
    foreign: int

    @property
    def sentence(self) -> str:
        """What the report says of it."""
        prefix = f" with the prefix {self.prefix!r}" if self.prefix else ""
        return (
            f"The vectors are those of {self.embedder.name}{prefix}: {self.rows} sampled texts,"
            f" embedded again, have a mean cosine of {self.cosine:.3f} to their rows."
            + (
                f" {self.foreign} of these rows hold no vector of their text, so the figures are too low."
                if self.foreign
                else ""
            )
        )


def identify(
    vectors: Tensor, texts: Sequence[str], candidates: Sequence[Embedder]
) -> Identity | None:
    """The first candidate whose embeddings of sampled texts are the store's rows; None for none.

    Raises KdstError where a candidate's embeddings are there, but in other rows.
    """
    rows = spread(len(texts), SAMPLE)
    stored = normalize(vectors, dim=1)
    for embed, prefix in _tries(vectors.shape[1], candidates):
        asked = embed if not prefix else Prefixed(embed, prefix)
        e = normalize(asked([texts[i] for i in rows]), dim=1)
        cosine = (e * stored[rows]).sum(1)
        agree = cosine >= SAME
        elsewhere = ((e @ stored.T).amax(1) >= SAME) & ~agree
        if int(elsewhere.sum()) > len(rows) * ELSEWHERE:
            raise KdstError(
                f"the rows do not belong to the texts: {int(elsewhere.sum())} of {len(rows)} sampled"
                f" texts have their vector of {embed.name} in another row.\nBring texts and vectors"
                " into one order"
            )
        if float(agree.float().mean()) >= MOST:
            return Identity(embed, prefix, float(cosine.mean()), len(rows), int((~agree).sum()))
    return None


def _tries(dimension: int, candidates: Sequence[Embedder]) -> Iterator[tuple[Embedder, str]]:
    """Candidates of the right length, first without a prefix, then with each usual one."""
    fitting = [c for c in candidates if c.dimension == dimension]
    for prefix in PREFIXES:
        for embed in fitting:
            yield embed, prefix


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` different rows, evenly over all of them."""
    step = max(count / wanted, 1.0)
    return [int(i * step) for i in range(min(count, wanted))]


def check_related(
    vectors: Tensor, texts: Sequence[str], known: Embedder, generator: torch.Generator
) -> float:
    """Correlation of the likeness of rows with the likeness of their texts to another embedder.

    Raises KdstError unless it is above that of 199 random orders of the rows, so that vectors of
    another order or of other texts are refused, whatever made them.
    """
    rows = spread(len(texts), RELATED)
    ours = _likeness(normalize(known([texts[i] for i in rows]), dim=1))
    theirs = _likeness(normalize(vectors[rows] - vectors[rows].mean(0), dim=1))
    above = torch.triu(torch.ones(len(rows), len(rows), dtype=torch.bool), 1)
    found = _correlation(ours[above], theirs[above])
    for _ in range(SHUFFLES):
        order = torch.randperm(len(rows), generator=generator)
        if _correlation(ours[above], theirs[order][:, order][above]) >= found:
            raise KdstError(
                "the rows do not seem to belong to the texts: texts that are alike have vectors that are"
                f" no more alike than in a random order (correlation {found:.3f} over {len(rows)} rows)."
                "\nBring texts and vectors into one order"
            )
    return found


def _likeness(e: Tensor) -> Tensor:
    """Products of all pairs (n, n)."""
    return (e @ e.T).double()


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation; 0 where one does not vary."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale else 0.0
