"""The kit that authors build methods from: a copy of the user's model, what to update, complete resets.

A method subclasses `OnlineAdapter` and writes `update`: its loss and one step of the optimiser.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from kdst_adapt.models.norms import BATCH_NORMS, NORMS, adaptable_copy
from kdst_adapt.models.wiring import in_layout, sample, try_out
from kdst_adapt.options import UpdateOptions
from kdst_adapt.surroundings import gradients
from kdst_core.contracts import AdaptRequest, Diagnostics
from kdst_core.errors import KdstError

__all__ = [
    "BATCH_NORMS",
    "NORMS",
    "DrawsOnly",
    "OnlineAdapter",
    "adaptable_copy",
    "entropy",
    "make_optimizer",
    "reached_by_output",
    "select_parameters",
]

Options = TypeVar("Options", bound=UpdateOptions)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy (B,) in nats of the softmax of logits (B, C)."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def select_parameters(model: nn.Module, which: str) -> dict[str, nn.Parameter]:
    """Return the parameters that `which` names, by their names in the model, each once.

    norm-affine: weight and bias of every normalisation layer, or what a parametrisation (of
    `torch.nn.utils.parametrize`) makes them from. all: every parameter. Raises KdstError when there is
    nothing to update.
    """
    if which == "all":
        chosen = dict(model.named_parameters())
    else:
        chosen = {}
        for prefix, module in model.named_modules():
            if isinstance(module, NORMS):
                known = set(map(id, chosen.values()))
                for name, parameter in _own_parameters(module, prefix):
                    if id(parameter) not in known:
                        chosen[name] = parameter
    if not chosen:
        raise KdstError(
            f"the model ({type(model).__name__}) has no normalisation layers with weights, so"
            " there is nothing to adapt.\nChoose --params all, or a model with BatchNorm,"
            " GroupNorm or LayerNorm"
        )
    return chosen


def _own_parameters(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of a layer itself, and those that its parametrisations hold in their place."""
    yield from module.named_parameters(prefix, recurse=False)
    if is_parametrized(module):
        own = "parametrizations"
        yield from module.get_submodule(own).named_parameters(f"{prefix}.{own}" if prefix else own)


def reached_by_output(
    named: dict[str, nn.Parameter], reached: frozenset[int]
) -> dict[str, nn.Parameter]:
    """Return those parameters that the logits depend on; KdstError when it is none."""
    kept = {name: p for name, p in named.items() if id(p) in reached}
    if not kept:
        raise KdstError(
            f"the logits depend on none of the parameters to adapt ({', '.join([*named][:3])}).\n"
            "Choose --params all, or a model whose forward keeps gradients on its way"
        )
    return kept


def make_optimizer(parameters: list[nn.Parameter], options: UpdateOptions) -> torch.optim.Optimizer:
    """Return the optimiser that the options name."""
    if options.optimizer == "adam":
        return torch.optim.Adam(parameters, options.lr, betas=(0.9, 0.999))
    return torch.optim.SGD(parameters, options.lr, options.momentum)


class DrawsOnly:
    """Part of a method that keeps nothing from one image to the next but its random numbers."""

    generator: torch.Generator

    def draw_from(self, generator: torch.Generator) -> None:
        """Take the generator of the request, at whose present state every reset begins again."""
        self.generator, self._generator_start = generator, generator.get_state()

    def reset(self) -> None:
        """Draw what a fresh predictor draws."""
        self.generator.set_state(self._generator_start)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random numbers."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.generator.set_state(state["generator"])


class OnlineAdapter(ABC, Generic[Options]):
    """A predictor that makes `options.steps` updates a batch; implements `OnlinePredictor`.

    Subclasses write `update`. State beyond parameters and optimiser goes into `begin` (set it up, at
    construction and at every reset), `own_state` and `load_own_state`.
    """

    returns_after: ClassVar[bool] = False
    """Whether `predict` returns the logits under the updated parameters, as published."""

    def __init__(self, request: AdaptRequest, options: Options, device: str = "cpu") -> None:
        self.options = options
        self.device = device
        self.generator = request.generator
        batch_statistics = self.uses_batch_statistics()
        self.model = adaptable_copy(request.model, device, batch_statistics=batch_statistics)
        candidates = select_parameters(self.model, options.params)
        self.dtype = next(iter(candidates.values())).dtype
        images = sample(request.example, request.input_shape).to(device, self.dtype)
        with gradients():
            self.wiring = try_out(self.model, images, standard=options.layout == "standard")
        self._format = self.wiring.layout
        named = self.choose(reached_by_output(candidates, self.wiring.reached))
        self.parameters = list(named.values())
        self.requires_grad(True)
        self.optimizer = make_optimizer(self.parameters, options)
        self.start = [p.detach().clone() for p in self.parameters]
        self._optimizer_start = copy.deepcopy(self.optimizer.state_dict())
        self._generator_start = self.generator.get_state()
        self._last: dict[str, Any] = {}
        self.begin()

    def arrange(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W) in the layout in which the model computes fastest."""
        return in_layout(x, self._format)

    @abstractmethod
    def update(self, x: Tensor) -> Tensor:
        """Make one update on images (B, C, H, W) and return the logits before it (B, num_classes)."""

    def uses_batch_statistics(self) -> bool:
        """Return whether BatchNorm takes the statistics of the batch (else those of training)."""
        return True

    def choose(self, named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return those of the parameters that `options.params` names which the method updates."""
        return named

    def begin(self) -> None:
        """Set up the method's own state as a fresh predictor has it."""

    def own_state(self) -> dict[str, Any]:
        """Return the method's own state as tensors and plain values."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take the method's own state from `own_state`."""

    def requires_grad(self, wanted: bool) -> None:
        """Switch gradients of the updated parameters, e.g. off while only inputs need them."""
        for parameter in self.parameters:
            parameter.requires_grad_(wanted)

    def accumulate(self, loss: Tensor) -> None:
        """Add a scalar to the loss of the next step, and let go of its graph."""
        loss.backward()

    def step(self, loss: Tensor) -> None:
        """Take one step of the optimiser on a scalar loss, and what was accumulated before."""
        self.accumulate(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def predict(self, x: Tensor) -> Tensor:
        """Adapt to images (B, C, H, W) and return logits (B, num_classes) of the same dtype."""
        with gradients():
            return self._predict(x.clone() if x.is_inference() else x)

    def _predict(self, x: Tensor) -> Tensor:
        """Adapt and return logits, with gradients enabled."""
        if self.options.episodic:
            self.reset()
        dtype = x.dtype
        x = self.arrange(x.to(self.device, self.dtype))
        self._last = {"x": x, "updates": 0, "samples": len(x), "scalars": {}, "images": {}}
        for step in range(self.options.steps):
            logits = self.update(x).detach()
            self._last["updates"] += 1
            if step == 0:
                self._last["before"] = logits
        if self.returns_after:
            logits = self._last["after"] = self.logits(x)
        return logits.to(dtype)

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) under the parameters of the moment."""
        logits: Tensor = self.model(x)
        return logits

    def report(self, *, samples: int | None = None, updated: bool | int = True) -> None:
        """Correct what the diagnostics say of this update: images used, how many steps were taken."""
        if samples is not None:
            self._last["samples"] = samples
        self._last["updates"] += int(updated) - 1

    def record(self, name: str, value: float | Tensor) -> None:
        """Add a number (kept as a scalar) or pictures (n, C, H, W) to the diagnostics."""
        if isinstance(value, Tensor) and value.dim() == 4:
            self._last["images"][name] = value.detach().cpu()
        else:
            self._last["scalars"][name] = value.item() if isinstance(value, Tensor) else value

    @property
    def diagnostics(self) -> Diagnostics:
        """What the last `predict` did; a reading it did not need is computed here."""
        last = self._last
        if "after" not in last:
            last["after"] = self.logits(last["x"])
        return Diagnostics(
            last["before"],
            last["after"],
            last["updates"],
            last["samples"],
            last["scalars"],
            last["images"],
        )

    def reset_parameters(self) -> None:
        """Put parameters and optimiser back to the start; what was accumulated is dropped."""
        self.optimizer.zero_grad()
        with torch.no_grad():
            for parameter, start in zip(self.parameters, self.start, strict=True):
                parameter.copy_(start)
        self.optimizer.load_state_dict(copy.deepcopy(self._optimizer_start))

    def reset(self) -> None:
        """Put everything back to the start: what follows equals a fresh predictor's, bit for bit."""
        self.reset_parameters()
        self.generator.set_state(self._generator_start)
        self.begin()

    def state_dict(self) -> dict[str, Any]:
        """Return parameters, optimiser, random state and the method's own state."""
        return {
            "parameters": [p.detach() for p in self.parameters],
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "own": self.own_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.load_own_state(state["own"])
