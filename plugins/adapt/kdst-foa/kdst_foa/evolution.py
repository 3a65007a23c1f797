"""CMA-ES by the package cma, with the random numbers of a torch generator and a state of plain values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

PARTS = ("sm", "adapt_sigma", "sigma_vec", "fit")
"""Parts of a strategy that learn: sampler, step size, scaling of the axes, and history of the fitness."""
DERIVED = frozenset({"B", "C", "D", "dC", "pop", "pop_sorted", "ary"})
"""What the strategy itself copies from its sampler, or has no use for once it was told."""
_SKIPPED = object()


class Evolution:
    """Proposes vectors around a mean that moves to those of low fitness; starts at 0 with deviation 1."""

    def __init__(self, dimension: int, popsize: int | None, generator: Generator) -> None:
        import cma  # imports matplotlib where that is installed

        self.generator = generator
        options: dict[str, Any] = {
            "randn": self._normal,
            "seed": math.nan,  # leaves numpy's generator alone
            "verbose": -9,
            "verb_log": 0,
        }
        if popsize is not None:
            options["popsize"] = popsize
        self.strategy: Any = cma.CMAEvolutionStrategy(dimension * [0.0], 1.0, options)

    def _normal(self, *shape: int) -> np.ndarray:
        """Draw from N(0, 1)."""
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return np.asarray(drawn.numpy())

    def ask(self) -> list[Tensor]:
        """Return as many vectors (dimension,) as the population has, in float64."""
        return [torch.from_numpy(np.asarray(x)) for x in self.strategy.ask()]

    def tell(self, vectors: Sequence[Tensor], fitness: Sequence[float]) -> None:
        """Learn how good vectors are, the lower the better; one besides those asked for may be among them."""
        self.strategy.tell([v.cpu().double().numpy() for v in vectors], list(fitness))

    def state(self) -> dict[str, Any]:
        """Return what a strategy that was told depends on, as tensors and plain values."""
        state = {part: _plain_fields(getattr(self.strategy, part)) for part in PARTS}
        own = _plain_fields(self.strategy)
        return {**state, "": {k: v for k, v in own.items() if k not in DERIVED}}

    def load(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Continue where `state` was taken; the generator is left as it is."""
        drawn = self.generator.get_state()
        self.strategy.ask()  # the first call sets up what later ones expect
        self.strategy.sent_solutions.clear()
        self.generator.set_state(drawn)
        for part, fields in state.items():
            owner = getattr(self.strategy, part) if part else self.strategy
            for name, value in fields.items():
                setattr(owner, name, _own(value))
        self.strategy._updateBDfromSM(self.strategy.sm)


def _plain_fields(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object that are numbers, arrays, or lists of these."""
    fields = {name: _plain(value) for name, value in vars(owner).items()}
    return {name: value for name, value in fields.items() if value is not _SKIPPED}


def _plain(value: Any) -> Any:
    """Return a value with arrays as tensors, `_SKIPPED` where it is none of a state."""
    if value is None or isinstance(value, bool | int | float | str):
        return float(value) if isinstance(value, float) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(value.copy())
    if type(value) in (list, range):  # a subclass does more
        parts = [_plain(part) for part in value]
        return _SKIPPED if any(part is _SKIPPED for part in parts) else parts
    return _SKIPPED


def _own(value: Any) -> Any:
    """Return a copy of a value of the state, with tensors as arrays."""
    if isinstance(value, Tensor):
        return value.clone().numpy()
    return [_own(part) for part in value] if isinstance(value, list) else value
