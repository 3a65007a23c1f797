"""Vectors of many texts, a part at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdst_core.contracts import Embedder
from kdst_core.progress import Mode, progress

if TYPE_CHECKING:
    from torch import Tensor

AT_A_TIME = 256


def embedded(embed: Embedder, texts: Sequence[str], show: Mode = "quiet") -> "Tensor":
    """Vectors of texts. show: how progress is shown."""
    import torch

    rows, parts = list(texts), []
    with progress(len(rows), "embeddings", show) as advance:
        for start in range(0, len(rows), AT_A_TIME):
            some = rows[start : start + AT_A_TIME]
            parts.append(embed(some))
            advance(len(some))
    return torch.cat(parts)
