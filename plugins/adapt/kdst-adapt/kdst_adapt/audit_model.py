"""What the audit finds of a model: its layout, precision, weights and normalisation layers."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.audit import Finding
from kdst_adapt.kit import NORMS, adaptable_copy, select_parameters
from kdst_adapt.update import UpdateOptions
from kdst_adapt.wiring import sample, try_out


def examine(
    model: nn.Module,
    example: Tensor,
    device: str,
    options: Any,
) -> list[Finding]:
    """Return findings on a model: layout, parameters without effect, normalisation layers, precision."""
    found = [*_wiring(model, example, device, options), *_norms(model)]
    if getattr(model, "was_half", False):
        found.append(
            Finding("precision", "mended", "The model came in half precision; it runs in float32.")
        )
    return found


def of_single(names: Sequence[str]) -> Finding:
    """Return the finding on BatchNorm layers that one image alone gives no statistics."""
    sentence = (
        f"BatchNorm layers with one value a channel ({_some(names)}) take the statistics of training"
        " when an image comes alone."
    )
    return Finding("batch of one", "mended", sentence)


def _wiring(model: nn.Module, example: Tensor, device: str, options: Any) -> Iterable[Finding]:
    """Yield in which layout the model runs, and which parameters to adapt have no effect."""
    clone = adaptable_copy(model, device)
    dtype = next((p.dtype for p in clone.parameters()), example.dtype)
    standard = getattr(options, "layout", "auto") == "standard"
    images = sample(example, tuple(example.shape[1:])).to(device, dtype)
    wiring = try_out(clone, images, standard=standard)
    if wiring.layout is torch.channels_last:
        yield Finding("layout", "ok", "Channels last, the fast layout.")
    elif standard:
        yield Finding("layout", "ok", "Standard (NCHW), as asked for.")
    else:
        sentence = "Standard (NCHW), for baselines too: the model does not suit the fast layout."
        yield Finding("layout", "ok", sentence)
    if isinstance(options, UpdateOptions):
        named = select_parameters(clone, options.params)
        unused = [n for n, p in named.items() if id(p) not in wiring.reached]
        if unused:
            sentence = f"No output depends on {_some(unused)}; left out of adaptation."
            yield Finding("parameters", "mended", sentence)


def _norms(model: nn.Module) -> Iterable[Finding]:
    """Yield findings on normalisation layers that are not torch's own."""
    own = {m for m in model.modules() if isinstance(m, NORMS)}
    more = sorted({type(m).__name__ for m in own if not type(m).__module__.startswith("torch.")})
    if more:
        sentence = (
            f"Subclasses that may do more than normalise are kept as they are: {_some(more)}."
        )
        yield Finding("normalisation", "ok", sentence)
    foreign = sorted(
        {type(m).__name__ for m in model.modules() if m not in own and "running_mean" in m._buffers}
    )
    if foreign:
        sentence = (
            f"{_some(foreign)} holds running statistics but is no BatchNorm of torch: it keeps those"
            " of training, and its parameters are not adapted."
        )
        yield Finding("normalisation", "warning", sentence)


def _some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
