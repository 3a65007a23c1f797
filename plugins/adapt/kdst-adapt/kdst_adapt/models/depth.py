"""Where the last blocks of a network begin, by its structure and the order of its layers, not by names."""

from collections.abc import Mapping

from torch import nn

from kdst_adapt.kit import NORMS

SHARE = 4
"""One of so many stages or blocks in a row is left alone: the last of a ResNet's four stages, the last
three of a ViT's twelve blocks, as the paper has it; none of the three stages of networks for CIFAR."""
MOST = 2 / 3
"""A part with more than this share of the normalisation layers holds the row of stages or blocks."""


def late_parameters(model: nn.Module, order: Mapping[int, int]) -> set[int]:
    """Return the ids of the parameters of the last quarter of the blocks, and of layers after them.

    order: id of each layer that was called to its place in the order of first calls.
    """
    parts = _row(model)
    dropped = parts[len(parts) - len(parts) // SHARE :]
    norms = [m for part in dropped for m in _norms(part) if id(m) in order]
    if not norms:
        return set()
    first = min(order[id(m)] for m in norms)
    late = {id(p) for part in dropped for p in part.parameters()}
    after = (m for m in _norms(model) if order.get(id(m), -1) >= first)
    return late | {id(p) for m in after for p in m.parameters(recurse=False)}


def _row(module: nn.Module) -> list[nn.Module]:
    """Return the longest row of stages or blocks: children with normalisation layers inside.

    A single such child, or one of two or three that holds most of the layers, is looked into. Where
    no child has layers inside, the normalisation layers themselves are the row.
    """
    inside = {c: _norms(c) for c in module.children() if not isinstance(c, NORMS) and _norms(c)}
    if not inside:
        return _norms(module)
    largest = max(inside, key=lambda c: len(inside[c]))
    most = len(inside[largest]) > MOST * len(_norms(module))
    if len(inside) < SHARE and (most or len(inside) == 1):
        return _row(largest)
    return list(inside)


def _norms(module: nn.Module) -> list[nn.Module]:
    """Return the normalisation layers of a module that have parameters."""
    return [m for m in module.modules() if isinstance(m, NORMS) and [*m.parameters(recurse=False)]]
