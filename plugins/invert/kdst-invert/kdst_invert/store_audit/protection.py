"""What a store could do to its vectors: what the attacker of words still reads, and what search loses."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from kdst_invert.attackers.words import read_words
from kdst_invert.defences.defence import Defence
from kdst_invert.defences.lossy import Dropping, Rounding
from kdst_invert.defences.noise import Gaussian, Private
from kdst_invert.defences.rotation import Rotation
from kdst_invert.store_audit import leakage

TOP = 10
DEFENCES: tuple[Defence, ...] = (
    Gaussian(0.0),
    Gaussian(0.01),
    Gaussian(0.03),
    Gaussian(0.1),
    Private(100),
    Rounding(8),
    Rounding(4),
    Rounding(2),
    Dropping(0.5),
    Rotation(),
)


def table(
    vectors: Tensor,
    texts: Sequence[str],
    attacked: Sequence[int],
    known: Sequence[int],
    generator: torch.Generator,
) -> list[dict[str, Any]]:
    """Each defence: what is read of the attacked rows by one who knows texts and their protected
    vectors, and how many of the ten nearest rows a search still finds. Empty where too few are known."""
    if len(known) < 2:
        return []
    mine, originals = list(attacked), [texts[i] for i in attacked]
    before = _nearest(vectors, vectors[mine], mine)
    rows, measure = [], ""
    for defence in DEFENCES:
        stored = defence.protect(vectors, generator)
        read = read_words(stored[list(known)], [texts[i] for i in known], stored[mine])
        found = leakage.as_json(leakage.leaks(read, originals, [{}] * len(mine)))
        measure = measure or leakage.main([found])
        after = _nearest(stored, defence.query(vectors[mine]), mine)
        same = (before[:, :, None] == after[:, None, :]).any(2).float().mean()
        rows.append(
            {
                "defence": defence.name,
                "strength": defence.strength,
                "measure": measure,
                "leak": found[measure],
                "overlap": float(same),
            }
        )
    return rows


def _nearest(store: Tensor, queries: Tensor, own: Sequence[int]) -> Tensor:
    """The ten rows (n, 10) nearest to each query by cosine, its own row left out."""
    scores = normalize(queries, dim=1) @ normalize(store, dim=1).T
    scores[torch.arange(len(own)), list(own)] = -torch.inf
    return scores.topk(min(TOP, len(store) - 1), dim=1).indices
