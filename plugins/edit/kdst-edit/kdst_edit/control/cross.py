"""Cross-attention of a transformer's blocks: its words are read from the totals, without their maps."""

from typing import Any

from torch import Tensor

from kdst_edit.control.maps import MapProcessor, ReadsMaps, index_of, weighted
from kdst_edit.control.reads import Reader, Reads
from kdst_edit.control.session import Call, Control
from kdst_edit.control.totals import columns, gives_totals, totalled
from kdst_edit.families.layer import Layer

Trio = tuple[Tensor, Tensor, Tensor]
"""Queries (rows, H, P, d), keys and values (rows, H, T, d)."""


class CrossProcessor(MapProcessor):
    """Processor of a block's cross-attention; maps are made where rules read many columns or edited ones."""

    def __init__(self, control: Control, layer: Layer) -> None:
        super().__init__(control, layer)
        self.reader = Reader()

    def _attend(self, call: Call, attn: Any, parts: Trio, mask: Tensor | None) -> Tensor:
        """Outputs (rows, H, P, d) of attention under the rules."""
        edits = [rule for rule in self.edits if call.step in rule.steps]
        stores = [rule for rule in self.stores if call.step in rule.steps]
        reads = self._reads(call, attn, parts, stores) if stores and weighted(edits) else None
        if reads is None:
            return super()._attend(call, attn, parts, mask)
        if edits or not reads.rows:
            self._tell(call, parts, mask, reads)
            return self._weigh(call, parts, mask, edits)
        mixed, logs = totalled(*parts, mask)
        self._tell(call, parts, mask, reads, logs)
        return mixed

    def _reads(self, call: Call, attn: Any, parts: Trio, stores: list[ReadsMaps]) -> Reads | None:
        """What rules read, where it can be read from the totals."""
        if attn.upcast_attention or attn.upcast_softmax or any(rule.edited for rule in stores):
            return None
        if not gives_totals(*parts):
            return None
        return self.reader(call, stores, parts[2], parts[1].shape[2])

    def _tell(
        self,
        call: Call,
        parts: Trio,
        mask: Tensor | None,
        reads: Reads,
        logs: Tensor | None = None,
    ) -> None:
        """Hand the rules what they read; logs: of the totals of all rows, where they are known."""
        if not reads.rows:
            return
        at = index_of(list(reads.rows))
        query, key, value = (part[at] for part in parts)
        chosen = None if mask is None else mask[at]
        found = totalled(query, key, value, chosen)[1] if logs is None else logs[at]
        reads.tell(call.rows, columns(query, key, found, reads, chosen))
