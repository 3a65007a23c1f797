"""The head of a causal language model in slices: no step holds a whole vocabulary for every token.

A vocabulary of 152,000 takes 0.6 MB of logits a token, and a training step holds about four copies of
them. What a model does behind its trunk (head, scaling, capping) is left to the model itself: it is
run again on a few tokens at a time, with its trunk answering what it answered before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from kdst_tools.models import configs

SLICE = 2**24
"""Numbers in the logits that are held at a time: 64 MiB in float32."""


class Said:
    """What a trunk answered, for some of its tokens; all but its hidden states is None."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, place: int | slice) -> Any:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, name: str) -> None:
        return None


class Heads:
    """A model of transformers whose logits are asked for slice by slice.

    Models without a trunk of their own (`base_model`) give all logits of a batch at once; so do
    batches whose logits fit one slice.
    """

    def __init__(self, model: nn.Module, numbers: int = SLICE) -> None:
        self.model = model
        self.tokens = max(1, numbers // configs.vocabulary(model))
        trunk = getattr(model, "base_model", model)
        head = getattr(model, "get_output_embeddings", lambda: None)()
        self.trunk: nn.Module | None = None if trunk is model or head is None else trunk

    def sliced(self, ids: Tensor) -> bool:
        """Whether a batch (B, T) of tokens is read in more than one slice."""
        return self.trunk is not None and ids.numel() > self.tokens

    def hidden(self, ids: Tensor, **inputs: Any) -> Tensor:
        """Return the hidden states (B, T, H) behind the trunk."""
        assert self.trunk is not None
        found: list[Tensor] = []

        def keep(_module: nn.Module, _given: Any, said: Any) -> Said:
            found.append(said[0])
            return Said(said[0][:, :1])

        hook = self.trunk.register_forward_hook(keep)
        try:
            self.model(input_ids=ids, **inputs)
        finally:
            hook.remove()
        return found[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits (N, V) of hidden states (N, H)."""
        with self._answering(Said(hidden[None])):
            ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
            found: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return found[0]

    def slices(self, count: int) -> Iterator[slice]:
        """Yield the slices of so many tokens."""
        for first in range(0, count, self.tokens):
            yield slice(first, first + self.tokens)

    @contextmanager
    def _answering(self, said: Said) -> Iterator[None]:
        """Let the trunk answer what is given, whatever it is asked."""
        trunk = cast(Any, self.trunk)
        trunk.forward = lambda *_given, **_named: said
        try:
            yield
        finally:
            del trunk.forward
