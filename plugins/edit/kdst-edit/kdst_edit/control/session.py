"""Attention control: rules act on a network while it runs, and everything is restored afterwards."""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeVar

from attrs import define, field, frozen
from torch import Tensor, nn

from kdst_core.errors import KdstError
from kdst_edit.control.layers import find_layers
from kdst_edit.families.layer import Kind, Layer


class RuleError(KdstError):
    """A rule cannot act on this model, or never did; the result would be silently wrong."""


@frozen
class Row:
    """What one row of a batch belongs to.

    branch: 0 is the source, 1 and up are the edits. conditional: with the branch's prompt, rather
    than the negative one.
    """

    branch: int
    conditional: bool


@frozen
class Call:
    """One call of the network: its step from 0, its rows in order, whether more of the step follow."""

    step: int
    rows: tuple[Row, ...]
    more: bool
    index: dict[Row, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "index", {row: i for i, row in enumerate(self.rows)})


class Processor(Protocol):
    """What computes an attention layer while control lasts."""

    layer: Layer
    original: Any
    """What computed it before."""


P = TypeVar("P", bound=Processor)


Choice = Callable[[Layer], bool]


def nowhere(layer: Layer) -> bool:
    """Choose no layer: for rules that act on latents alone."""
    return False


ALWAYS = range(sys.maxsize)
"""Every step."""


@define(eq=False, kw_only=True)
class Rule:
    """One change to what the network computes, or to the latents between steps.

    layers: which layers, usually a `Layers`. steps: at which steps, from 0, usually a `range`.
    branches: which edits, from 1; None for all. fired: how often it acted. order: rules with a lower
    one change the latents earlier in a step; among equals, those given first.
    """

    order: ClassVar[int] = 0

    layers: Choice = nowhere
    steps: Collection[int] = ALWAYS
    branches: Collection[int] | None = None
    fired: int = field(default=0, init=False)

    @property
    def title(self) -> str:
        """How messages name the rule."""
        return f"{type(self).__name__}({getattr(self.layers, '__name__', self.layers)})"

    def attach(self, control: "Control") -> None:
        """Take hold of the layers; called on entering a `Control`."""

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """Return the branches' latents (B, C, h, w) as they should be after a step."""
        return latents

    def changes(self, branch: int) -> bool:
        """Whether the rule is about an edit's branch."""
        return branch > 0 and (self.branches is None or branch in self.branches)


class Control:
    """Context manager in which `rules` act on a network.

    Call `expect` before each call of the network, which says what its rows are, and `after_step` on the
    branches' latents after each step. Rows of one step may be spread over several calls; the source's
    must come first. Calls of the network that were not announced pass unchanged.

    On leaving, hooks and processors are as they were. Raises RuleError when a rule fits no layer, and,
    unless another exception is under way, when a rule never acted.
    """

    def __init__(self, network: nn.Module, rules: Iterable[Rule], latent: tuple[int, int]) -> None:
        self.network, self.rules, self.latent = network, list(rules), latent
        self.layers: list[Layer] = []
        self.call: Call | None = None
        self._handles: list[Any] = []
        self._processors: dict[nn.Module, Processor] = {}
        self._kept: dict[tuple[str, Row], Tensor] = {}

    def __enter__(self) -> Self:
        self.layers = find_layers(self.network)
        try:
            for rule in self.rules:
                rule.fired = 0
                rule.attach(self)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()
        idle = [rule for rule in self.rules if not rule.fired]
        if kind is None and idle:
            raise RuleError(
                f"{idle[0].title} never acted: its layers were not called, or none of the steps"
                f" carried out is in {idle[0].steps}. The result would not be an edit"
            )

    def _restore(self) -> None:
        for handle in self._handles:
            handle.remove()
        for processor in self._processors.values():
            processor.layer.module.set_processor(processor.original)
        self._handles, self._processors, self._kept, self.call = [], {}, {}, None

    def expect(self, step: int, rows: Sequence[Row], *, more: bool = False) -> None:
        """Announce the next call of the network: its step from 0, its rows, and whether others follow."""
        if self.call is None or self.call.step != step:
            self._kept.clear()
        self.call = Call(step, tuple(rows), more)

    def after_step(self, step: int, latents: Tensor) -> Tensor:
        """The latents (B, C, h, w) of all branches after a step, as the rules leave them."""
        self.call = None
        self._kept.clear()
        for rule in sorted(self.rules, key=lambda rule: rule.order):
            latents = rule.after_step(step, latents)
        return latents

    def select(self, rule: Rule, *kinds: Kind) -> list[Layer]:
        """The layers of some kinds that a rule chooses; RuleError when there are none."""
        chosen = [x for x in self.layers if rule.layers(x) and x.kind in kinds]
        if not chosen:
            has = sorted({(x.kind, x.place, x.factor) for x in self.layers})
            there = ", ".join(f"{k} {p} 1/{f}" for k, p, f in has)
            name = type(self.network).__name__
            raise RuleError(f"{rule.title} chooses no layer of this {name}. It has: {there}")
        return chosen

    def on_output(self, module: nn.Module, change: Callable[[Call, Tensor], None]) -> None:
        """Let `change` work in place on the output of a module in every announced call."""

        def hook(_module: nn.Module, _arguments: Any, output: Tensor) -> None:
            if self.call is not None:
                if len(output) != len(self.call.rows):
                    raise RuleError(
                        f"a call of the network has {len(output)} rows where {len(self.call.rows)}"
                        " were announced"
                    )
                change(self.call, output)

        self._handles.append(module.register_forward_hook(hook))

    def processor(self, layer: Layer, kind: "Callable[[Control, Layer], P]") -> P:
        """Return the processor of an attention layer that rules share; made at first use by `kind`."""
        made: Any = self._processors.get(layer.module)
        if made is None:
            made = self._processors[layer.module] = kind(self, layer)
            layer.module.set_processor(made)
        found: P = made
        return found

    def keeps(self, key: str, row: Row) -> bool:
        """Whether `key` of a source's row was kept from an earlier call of this step."""
        return (key, row) in self._kept

    def source(self, key: str, row: Row, here: Callable[[int], Tensor]) -> Tensor:
        """What `key` was in a row of the source: from this call, or kept from an earlier one.

        `here` returns it by the row's index in this call.
        """
        assert self.call is not None
        if row not in self.call.index:
            return self._kept[key, row]
        value = here(self.call.index[row])
        if self.call.more:
            self._kept[key, row] = value = value.clone()
        return value
