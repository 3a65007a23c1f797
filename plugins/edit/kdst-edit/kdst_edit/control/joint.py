"""Joint attention of image and text that shows its maps to rules, and what they edit in them.

A row's softmax goes over image and text; rules see, and change, the text's columns in the image's rows.
What an edit takes away or adds there is not made up for in the image's columns.
"""

from collections.abc import Callable
from typing import Any

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from kdst_edit.control import carried, shares
from kdst_edit.control.cross import CrossProcessor
from kdst_edit.control.maps import SOURCE, EditsMaps, MapProcessor, Rows, weighted
from kdst_edit.control.reads import Reader, Reads
from kdst_edit.control.session import Call, Control
from kdst_edit.control.taken import taken_by
from kdst_edit.control.totals import gives_totals
from kdst_edit.families.layer import Joint, Layer, Parts


def processor(control: Control, layer: Layer) -> MapProcessor:
    """Return the processor of an attention layer that shows its maps."""
    if layer.joint is not None:
        return JointProcessor(control, layer)
    return (CrossProcessor if layer.place == "block" else MapProcessor)(control, layer)


@frozen
class JointMaps:
    """Maps of a joint attention, the text's columns in the image's rows.

    A column is the row's share of all text times the softmax over the text alone, so no matrix of image
    by image is made: scaled-dot-product attention to marks of the text's tokens gives the share.
    """

    parts: Parts

    @property
    def heads(self) -> int:
        """Return the heads."""
        return self.parts.query.shape[1]

    @property
    def elements(self) -> int:
        """Return pixels times tokens."""
        count = self.parts.key.shape[2]
        image, text = (
            len(range(*part.indices(count))) for part in (self.parts.image, self.parts.text)
        )
        return image * text

    def own(self, rows: Rows, heads: slice) -> Tensor:
        """Return the text's columns of the softmax over image and text."""
        query = self.parts.query[rows, heads][:, :, self.parts.image]
        key = self.parts.key[rows, heads]
        marks = torch.zeros_like(key)
        marks[:, :, self.parts.text] = 1
        share = F.scaled_dot_product_attention(query, key, marks)[..., :1]
        scores = query @ key[:, :, self.parts.text].mT * query.shape[-1] ** -0.5
        return scores.softmax(-1).mul_(share)

    def put(self, mixed: Tensor, rows: Rows, heads: slice, edited: Tensor, own: Tensor) -> None:
        """Add what the edit changes, times the text's values, to the image's outputs."""
        words = self.parts.value[rows, heads][:, :, self.parts.text]
        changed = mixed[rows, heads]
        changed[:, :, self.parts.image] += (edited - own) @ words
        mixed[rows, heads] = changed


class JointProcessor(MapProcessor):
    """Processor of one joint attention; rows that no rule edits are computed as ever.

    Where no rule needs maps, the layer's original processor is called.
    """

    def __init__(self, control: Control, layer: Layer) -> None:
        super().__init__(control, layer)
        assert layer.joint is not None
        self.joint: Joint = layer.joint
        self.reader = Reader()

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
    ) -> Any:
        """Attend from and to image (rows, P, C) and text (rows, T, C), or both in the first argument."""
        given = (hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        call = self.control.call
        if call is None or not self._needed(call):
            return self.original(attn, *given)
        pixels = self.layer.pixels(self.control.latent)
        image, words, _, rotary = given
        parts = self.joint.parts(attn, image, words, rotary, pixels)
        return self.joint.outputs(attn, self._attended(call, parts), parts)

    def _attended(self, call: Call, parts: Parts) -> Tensor:
        """Outputs (rows, H, N, d) of attention under the rules."""
        edits = [rule for rule in self.edits if call.step in rule.steps]
        stores = [rule for rule in self.stores if call.step in rule.steps]
        if not weighted(edits) or any(rule.edited for rule in stores):
            mixed = F.scaled_dot_product_attention(parts.query, parts.key, parts.value)
            self._show(call, JointMaps(parts), edits, stores, mixed)
            return mixed
        tokens = len(range(*parts.text.indices(parts.key.shape[2])))
        reads = self.reader(call, stores, parts.value, tokens)
        if reads is None:
            self._show(call, JointMaps(parts), [], stores)
        return self._linear(call, parts, reads or Reads(), edits)

    def _linear(self, call: Call, parts: Parts, reads: Reads, edits: list[EditsMaps]) -> Tensor:
        """Outputs under edits that are linear in the maps, in the way that the kernel allows."""
        taken = taken_by(call, parts, edits)
        if not gives_totals(parts.query, parts.key, parts.value):
            kept = self._source(call, parts) if edits else None
            return carried.attended(call, parts, reads, taken, kept)
        known = SOURCE in call.index or self.control.keeps(f"{self.layer.name}/logs", SOURCE)
        return shares.attended(call, parts, reads, taken, self._keep if edits and known else None)

    def _keep(self, name: str, here: Callable[[int], Tensor]) -> Tensor:
        """What a part of the source is, kept for later calls."""
        return self.control.source(f"{self.layer.name}/{name}", SOURCE, here)

    def _source(self, call: Call, parts: Parts) -> tuple[Tensor, Tensor] | None:
        """Queries (H, P, d) of the source's image and all of its keys (H, N, d), kept for later calls."""
        if SOURCE not in call.index and not self.control.keeps(f"{self.layer.name}/key", SOURCE):
            return None
        query, key = (
            self.control.source(f"{self.layer.name}/{name}", SOURCE, part.__getitem__)
            for name, part in (("query", parts.query[:, :, parts.image]), ("key", parts.key))
        )
        return query, key
