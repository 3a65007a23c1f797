"""Whether a text is in a store: who asks, with what embeddings, and by which threshold."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_invert.attackers.linear import FEWEST_PAIRS, ridge
from kdst_invert.embedders.batches import embedded
from kdst_invert.store_audit import inference
from kdst_invert.store_audit.identify import Identity

FEWEST_SHADOW, SHADOW = 50, 300
"""Known texts from which on they set the threshold of membership, and the most that do."""


@frozen
class Question:
    """Who asks whether a text is in a store. texts: of all rows. identity: of the store's embedder, which
    may be asked; None where it is not known, so that `own` is mapped into the store's space."""

    texts: Sequence[str] = field(repr=False)
    identity: Identity | None
    own: Embedder

    def membership(
        self, vectors: Tensor, attacked: Sequence[int], most: Sequence[int]
    ) -> dict[str, Any] | None:
        """Whether a text is in the store, told from its embedding or from one that is mapped there."""
        half = len(attacked) // 2
        kept = torch.ones(len(vectors), dtype=torch.bool)
        kept[attacked[half:]] = False
        inside = {self.texts[i] for i in kept.nonzero()[:, 0].tolist()}
        rows = [*attacked[:half], *(i for i in attacked[half:] if self.texts[i] not in inside)]
        candidates = self._asked([self.texts[i] for i in rows], vectors, most)
        if candidates is None or len(rows) <= half:
            return None
        place = (kept.cumsum(0) - 1).tolist()
        often = Counter(self.texts)
        single = [i for i in most if often[self.texts[i]] == 1][:SHADOW]
        shadow = self._shadow(vectors, single, place)
        found = inference.membership(candidates, vectors[kept], half, shadow)
        return {
            "auc": found.auc,
            "recognised": [found.recognised.value, found.recognised.low, found.recognised.high],
            "alarms": [found.alarms.value, found.alarms.low, found.alarms.high],
            "shadow": found.shadow,
            "members": found.members,
            "others": found.others,
            "asks": self.identity is not None,
        }

    def _shadow(
        self, vectors: Tensor, rows: Sequence[int], place: Sequence[int]
    ) -> inference.Shadow | None:
        """Known texts by which the threshold of membership is set, None where there are too few.

        place: of each row in the store without the texts that are no members. Where a map takes texts
        into the store's space, each half of them goes by a map that the other half taught.
        """
        if len(rows) < FEWEST_SHADOW:
            return None
        texts, half = [self.texts[i] for i in rows], len(rows) // 2
        if self.identity is not None:
            e = self._asked(texts, vectors, rows)
        else:
            parts = (texts[:half], rows[half:]), (texts[half:], rows[:half])
            mapped = [self._asked(some, vectors, others) for some, others in parts]
            e = torch.cat([part for part in mapped if part is not None])
        return None if e is None else inference.Shadow(e, [place[i] for i in rows])

    def _asked(self, texts: Sequence[str], vectors: Tensor, most: Sequence[int]) -> Tensor | None:
        """Embeddings of texts in the store's space: the embedder's own, or mapped from another's."""
        if self.identity is not None:
            prefixed = [self.identity.prefix + text for text in texts]
            return embedded(self.identity.embedder, prefixed)
        if len(most) < FEWEST_PAIRS:
            return None
        known = embedded(self.own, [self.texts[i] for i in most])
        return ridge(known, vectors[list(most)])(embedded(self.own, texts))
