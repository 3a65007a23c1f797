"""Vectors before any work: whether they can be inverted, and whether they are those of their texts.

What can be mended is, with a warning; what cannot is refused. That vectors belong to texts is seen on a
sample that is embedded again.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE = 16
SAME = 0.98
"""Cosine from which a vector is a text's own, whatever the precision of the embedder that made it."""
APART = 0.9
"""Cosine below which it is not."""
FEW, NEAR = 4, 0.5
"""Rows below which nothing can be told from chance, and the cosine that is asked of them instead."""
LEAST = 0.05
"""What vectors of texts made in another way, such as with noise, are closer to their texts at least."""
AT_A_TIME = 65_536
UNIT = 1e-3
"""How far from 1 the length of a normalised vector may be."""
CHECKED = 4096
"""Rows that are looked at together."""


@frozen
class Compared:
    """Sampled texts against all rows, each (n,): cosine to the own row, to the best one, and on average."""

    own: "Tensor"
    best: "Tensor"
    average: "Tensor"


def check_pairs(texts: Sequence[str], vectors: "Tensor", embed: Embedder) -> list[str]:
    """Warnings about vectors (N, D) of texts; KdstError where they are not those of the texts.

    At most 16 texts are embedded. Another order is seen from vectors that are those of other texts;
    noise, another pooling or prefix from vectors that are nearer to their own text than to others, but
    not as near as they should be.
    """
    if embed.dimension != vectors.shape[1]:
        return []
    rows = sample(len(texts))
    found = compare(rows, [texts[i] for i in rows], vectors, embed)
    elsewhere = int(((found.best >= SAME) & (found.own < APART)).sum())
    count = len(rows)
    if elsewhere:
        raise KdstError(
            f"the vectors are in another order than the texts: of {count} texts that were embedded again,"
            f" {elsewhere} have their vector in another row.\nPut both in one order; nothing measured"
            " on rows that do not belong together would mean anything"
        )
    own = float(found.own.mean())
    if float(found.own.min()) >= SAME:
        return []
    if not nearer(found):
        raise KdstError(
            f"the vectors do not belong to the texts: those of {count} texts that were embedded again"
            f" have cosine {own:.2f} to their rows, {float(found.average.mean()):.2f} to any row.\n"
            "Give the texts of these vectors, or --embedder (and --pooling, --prefix) that made them"
        )
    return [
        f"the vectors are near those that the embedder makes of the texts, but not the same (cosine"
        f" {own:.3f} on average of {count}, {float(found.own.min()):.3f} at least): noise, another"
        " pooling, prefix or version made them, or single rows belong to other texts; what is read is"
        " less than from the embedder's own vectors"
    ]


def nearer(found: Compared) -> bool:
    """Whether the texts are nearer to their own rows than to the others, beyond chance; among very few
    rows chance is not known, so that they must be near."""
    if len(found.own) < FEW:
        return float(found.own.min()) > NEAR
    gain = found.own - found.average
    error = float(gain.std()) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
    return float(gain.mean()) > max(LEAST, 3 * error)


def sample(count: int) -> list[int]:
    """Rows spread evenly over all of them."""
    wanted = min(SAMPLE, count)
    return [i * count // wanted for i in range(wanted)]


def compare(
    rows: Sequence[int], texts: Sequence[str], vectors: "Tensor", embed: Embedder
) -> Compared:
    """The texts of some rows, embedded again, against all vectors (N, D)."""
    import torch

    again = torch.nn.functional.normalize(embed(list(texts)).double(), dim=1)
    own = torch.cosine_similarity(again, vectors[list(rows)].double(), dim=1)
    best, total = torch.full_like(own, -1.0), torch.zeros_like(own)
    for start in range(0, len(vectors), AT_A_TIME):
        part = torch.nn.functional.normalize(vectors[start : start + AT_A_TIME].double(), dim=1)
        like = again @ part.T
        best, total = torch.maximum(best, like.amax(1)), total + like.sum(1)
    others = max(len(vectors) - 1, 1)
    average = (total - own) / others if len(vectors) > 1 else torch.zeros_like(own)
    return Compared(own, best, average)


def checked_vectors(vectors: "Tensor", normalised: bool, where: Any) -> "tuple[Tensor, list[str]]":
    """Vectors that can be inverted, and what was done to them.

    Where the embedder's vectors have length 1 and these have not, they are divided by their length.
    Raises KdstError for NaN, infinite or all-zero rows.
    """
    import torch

    if vectors.ndim != 2 or not len(vectors):
        raise KdstError(f"{where}: expected vectors (N, D), not shape {tuple(vectors.shape)}")
    lengths = []
    for start in range(0, len(vectors), CHECKED):
        part = vectors[start : start + CHECKED]
        bad = (~part.isfinite().all(1)).nonzero()
        if len(bad):
            raise KdstError(f"{where}: row {start + int(bad[0])} holds NaN or infinity; remove it")
        lengths.append(part.norm(dim=1))
    norms = torch.cat(lengths)
    zero = (norms == 0).nonzero()
    if len(zero):
        raise KdstError(f"{where}: row {int(zero[0])} is all zero, so it holds no text; remove it")
    if not normalised or bool(((norms - 1).abs() <= UNIT).all()):
        return vectors, []
    said = (
        f"the embedder makes vectors of length 1, those given have {float(norms.min()):.3g} to"
        f" {float(norms.max()):.3g}; each was divided by its length"
    )
    return vectors / norms[:, None], [said]
