"""What rows of a batch have read, with room for more."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from attrs import frozen
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values (R, H, T, D) of one layer with room for more, so that none is copied a step."""

    def __init__(self, room: int, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        if keys is not None and values is not None:
            self._begin(keys, values)

    def _begin(self, keys: Tensor, values: Tensor) -> None:
        """Take the first keys and values."""
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._keys, self._values = self._buffer(keys), self._buffer(values)
        self._show(keys.shape[-2])

    def _buffer(self, start: Tensor) -> Tensor:
        """Room for `room` more tokens behind `start`."""
        rows, heads, length, width = start.shape
        buffer = start.new_empty(rows, heads, length + self.room, width)
        buffer[:, :, :length] = start
        return buffer

    def _show(self, length: int) -> None:
        """Let the first `length` tokens be the content."""
        self.keys, self.values = self._keys[:, :, :length], self._values[:, :, :length]

    def select(self, rows: Tensor, length: int, room: int) -> "RoomyLayer":
        """Copy the first `length` tokens of some rows, with room for more."""
        return RoomyLayer(room, *(part[rows, :, :length] for part in self.content))

    @property
    def content(self) -> tuple[Tensor, Tensor]:
        """All keys and values."""
        return cast(Tensor, self.keys), cast(Tensor, self.values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append (R, H, t, D) and return all keys and values."""
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if not self.is_initialized:
            self._begin(key_states, value_states)
            return self.content
        if after > self._keys.shape[-2]:
            self.room = max(self.room, 2 * key_states.shape[-2])
            self._keys, self._values = map(self._buffer, self.content)
        self._keys[:, :, before:after] = key_states
        self._values[:, :, before:after] = value_states
        self._show(after)
        return self.content


@frozen
class Memory:
    """What rows of a batch have read: cache, mask (R, T) of the tokens that count.

    Positions follow from the mask: the next token of a row stands behind those that count.
    """

    cache: Cache
    mask: Tensor

    @property
    def lengths(self) -> Tensor:
        """Tokens that each row has read, (R,)."""
        return self.mask.sum(1)


def together(memories: Sequence[Memory]) -> Memory:
    """Return one memory with the rows of all, the shorter ones padded behind."""
    if len(memories) == 1:
        return memories[0]
    width = max(memory.mask.shape[1] for memory in memories)

    def padded(part: Tensor, at: int) -> Tensor:
        behind = list(part.shape)
        behind[at] = width - behind[at]
        return torch.cat([part, part.new_zeros(behind)], at)

    layers = [
        RoomyLayer(0, *(torch.cat([padded(part, 2) for part in parts]) for parts in own))
        for own in (
            zip(*(cast(RoomyLayer, layer).content for layer in same), strict=True)
            for same in zip(*(memory.cache.layers for memory in memories), strict=True)
        )
    ]
    mask = torch.cat([padded(memory.mask, 1) for memory in memories])
    return Memory(Cache(layers=layers), mask)  # type: ignore[arg-type]
