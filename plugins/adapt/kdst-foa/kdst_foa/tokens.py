"""The blocks of tokens of a vision transformer: where prompts go in, and what the class token becomes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.kit import NORMS
from kdst_adapt.models.wiring import first_input, full


class Tokens:
    """Puts prompts behind the first token before the first block, and takes them out after the last.

    `features` are the class token's after each block but the last, as the next block's first
    normalisation layer gives them. `prompts` (n, D) may be None.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.prompts: Tensor | None = None
        self._features: list[Tensor] = []
        blocks[0].register_forward_pre_hook(self._put_in, with_kwargs=True)
        for block in blocks[1:]:
            layer = next((m for m in block.modules() if isinstance(m, NORMS)), None)
            if layer is None:
                block.register_forward_pre_hook(self._keep_input, with_kwargs=True)
            else:
                layer.register_forward_hook(self._keep_output)
        blocks[-1].register_forward_hook(self._take_out)

    def take(self) -> list[Tensor]:
        """Return the class token's features (B, D) of the newest forward pass, and let go of them."""
        features, self._features = self._features, []
        return features

    def _put_in(self, _block: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Give the first block the prompts too."""
        self._features = []
        if self.prompts is None:
            return None
        x = first_input(args, named)
        prompts = self.prompts.to(x).expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], prompts, x[:, 1:]], 1)
        return ((x, *args[1:]), named) if args else (args, {**named, next(iter(named)): x})

    def _take_out(self, _block: nn.Module, _args: Any, output: Any) -> Any:
        """Leave the prompts out of the last block's output."""
        if self.prompts is None:
            return None
        x = _first(output)
        x = torch.cat([x[:, :1], x[:, 1 + len(self.prompts) :]], 1)
        return x if isinstance(output, Tensor) else (x, *output[1:])

    def _keep_input(self, _block: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep the class token that a block is given."""
        self._features.append(full(first_input(args, named)[:, 0]))

    def _keep_output(self, _layer: nn.Module, _args: Any, output: Tensor) -> None:
        """Keep the class token that a normalisation layer gives."""
        self._features.append(full(output[:, 0]))


@torch.no_grad()
def blocks_of(model: nn.Module, images: Tensor) -> list[nn.Module]:
    """Return the longest row of sister modules that turn tokens (B, T, D) into as many, of the same
    width; empty where there is none, as in a convolutional network."""
    shapes: dict[int, tuple[Any, Any]] = {}

    def note(module: nn.Module, args: Any, named: dict[str, Any], output: Any) -> None:
        if args or named:
            given, returned = first_input(args, named), _first(output)
            if isinstance(given, Tensor) and isinstance(returned, Tensor):
                shapes[id(module)] = (given.shape, returned.shape)

    hooks = [m.register_forward_hook(note, with_kwargs=True) for m in model.modules()]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    rows = (_row(parent, shapes) for parent in model.modules())
    return max(rows, key=len, default=[])


def _row(parent: nn.Module, shapes: dict[int, tuple[Any, Any]]) -> list[nn.Module]:
    """Return the children of one class, with layers of their own, that keep the shape of tokens."""
    kept = [
        child
        for child in parent.children()
        if next(child.children(), None) is not None and _keeps_tokens(shapes.get(id(child)))
    ]
    alike = [child for child in kept if type(child) is type(kept[0])]
    return alike if len(alike) > 1 else []


def _keeps_tokens(shapes: tuple[Any, Any] | None) -> bool:
    """Return whether a module was given (B, T, D) and returned the same shape."""
    return shapes is not None and len(shapes[0]) == 3 and shapes[0] == shapes[1]


def _first(output: Any) -> Any:
    """Return the output itself, or the first of several."""
    return output[0] if isinstance(output, tuple | list) and output else output
