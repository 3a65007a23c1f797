"""What the audit finds of a model: its layout, precision, weights and normalisation layers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.audit import forwards
from kdst_adapt.audit.findings import Finding, some
from kdst_adapt.kit import select_parameters
from kdst_adapt.models import amp
from kdst_adapt.models.norms import NORMS, adaptable_copy
from kdst_adapt.models.resnet import Normalized
from kdst_adapt.models.wiring import sample, try_out
from kdst_adapt.options import UpdateOptions
from kdst_core.errors import KdstError

ENOUGH = 6
"""Values that do not all lie between 0 and 1 by chance."""
NORMALISED = 1e-4
"""Largest logarithm of the sum of probabilities up to which logits count as log-probabilities."""


def examine(
    model: nn.Module,
    example: Tensor,
    device: str,
    options: Any,
    *,
    gradients: bool = False,
) -> list[Finding]:
    """Return findings on a model: layout, parameters without effect, normalisation layers, precision.

    gradients: whether the method needs them. KdstError where the model gives none, or computes
    BatchNorm past its layers.
    """
    found = [*_wiring(model, example, device, options, gradients), *_norms(model)]
    found += [*_outputs(model, example, device), *_weights(model)]
    if _is_bare(model):
        sentence = (
            "The classifier has no preprocessor_config.json, so its images are not normalised. Give"
            " --mean and --std where it was trained with them."
        )
        found.append(Finding("normalisation of images", "warning", sentence))
    if getattr(model, "was_half", False):
        found.append(
            Finding("precision", "mended", "The model came in half precision; it runs in float32.")
        )
    return found


def _is_bare(model: nn.Module) -> bool:
    """Return whether a model stands behind no normalisation though one was looked for."""
    return not isinstance(model, Normalized) and any(
        getattr(m, "bare", False) is True for m in model.modules()
    )


def _weights(model: nn.Module) -> Iterable[Finding]:
    """Yield which networks of a checkpoint were left aside."""
    others = [n for m in model.modules() for n in getattr(m, "other_weights", ())]
    if others:
        sentence = f"The file of --weights holds several networks; left aside: {some(others)}."
        yield Finding("weights", "warning", sentence)


def mend_forward(model: nn.Module, example: Tensor) -> list[Finding]:
    """Let a model leave its images (B, C, H, W) and its buffers as they are, and return what was mended."""
    found = []
    if forwards.changes_its_input(model, example):
        forwards.protect_input(model)
        sentence = "The model writes into the images that it is given; it gets copies of them."
        found.append(Finding("input", "mended", sentence))
    changed = forwards.changed_buffers(model, example)
    if changed:
        forwards.keep_buffers(model, changed)
        sentence = (
            f"The model's forward changes its buffers ({some(changed)}) in evaluation too; every call"
            " begins with them as they came."
        )
        found.append(Finding("buffers", "mended", sentence))
    return found


def of_amp(name: str, device: str) -> Finding:
    """Return the finding on a run in mixed precision, a warning where that makes it slow."""
    sentence = f"Forward passes run in {name} (--amp); weights, losses and logits are float32."
    slow = device == "cpu" and name == "bfloat16" and not amp.has_quick_bfloat16()
    if slow:
        sentence += (
            " This processor has no instructions for bfloat16, so it is slower than float32."
        )
    return Finding("mixed precision", "warning" if slow else "ok", sentence)


def of_outputs() -> Finding:
    """Return the finding on a model that returns more than logits."""
    sentence = (
        "The model returns several outputs; its logits, or the first of equal shape, are taken."
    )
    return Finding("outputs", "mended", sentence)


def _images(example: Tensor, model: nn.Module, device: str) -> Tensor:
    """Return images to try a model on, of its type."""
    dtype = next((p.dtype for p in model.parameters()), example.dtype)
    return sample(example, tuple(example.shape[1:])).to(device, dtype)


def _wiring(
    model: nn.Module, example: Tensor, device: str, options: Any, gradients: bool
) -> Iterable[Finding]:
    """Yield in which layout the model runs, and which parameters to adapt have no effect."""
    clone = adaptable_copy(model, device)
    standard = getattr(options, "layout", "auto") == "standard"
    try:
        wiring = try_out(clone, _images(example, clone, device), standard=standard)
    except Exception as e:  # what a model may raise is open; as trained, it has just run
        raise KdstError(
            f"the model ({type(model).__name__}) fails when BatchNorm takes the statistics of the"
            f" batch, which the baseline norm needs: {str(e).partition(chr(10))[0]}.\n"
            "It must call its BatchNorm layers, not compute with their statistics itself"
        ) from e
    lost = not wiring.reached
    if lost and forwards.computes_elsewhere(clone, _images(example, clone, device)):
        raise KdstError(
            f"the model ({type(model).__name__}) computes with layers that copies of it do not hold, as a"
            " forward put on it from outside does; methods work on copies.\nWrite the forward in a class"
        )
    if gradients and lost:
        raise KdstError(
            f"the logits of the model ({type(model).__name__}) depend on no parameter: its forward keeps"
            " no gradients, which this method needs.\nGive a model without no_grad in its forward and"
            " without quantised layers"
        )
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
            sentence = f"No output depends on {some(unused)}; left out of adaptation."
            yield Finding("parameters", "mended", sentence)


@torch.no_grad()
def _outputs(model: nn.Module, example: Tensor, device: str) -> Iterable[Finding]:
    """Yield whether logits are random, depend on other images, or are no logits."""
    clone = adaptable_copy(model, device, batch_statistics=False)
    images = _images(example, clone, device)
    one, two = clone(images), clone(images)
    if not torch.allclose(one, two, rtol=1e-4, atol=1e-5):
        sentence = (
            "The model gives other logits each time: something random, such as dropout, stays on in"
            " evaluation. Differences between methods hold that noise too."
        )
        yield Finding("logits", "warning", sentence)
    elif forwards.looks_at_others(clone, images):
        sentence = (
            "The logits of an image depend on the other images of its batch, in evaluation too: a"
            " BatchNorm without statistics of training, or a forward that switches to training. So source"
            " is not the model alone."
        )
        yield Finding("logits", "warning", sentence)
    if one.numel() >= ENOUGH and bool(((one >= 0) & (one <= 1)).all()):
        sentence = (
            "All logits lie between 0 and 1, as after a sigmoid; methods and losses take them for"
            " logits. Leave out the sigmoid at the model's end."
        )
        yield Finding("logits", "warning", sentence)
    if one.logsumexp(1).abs().max() < NORMALISED:
        sentence = (
            "The model returns log-probabilities: their free energy is 0 for every image, so that TEA"
            " and measures of energy mean nothing. Leave out the log-softmax at its end."
        )
        yield Finding("logits", "warning", sentence)


def _norms(model: nn.Module) -> Iterable[Finding]:
    """Yield findings on normalisation layers that are not torch's own."""
    own = {m for m in model.modules() if isinstance(m, NORMS)}
    more = sorted({type(m).__name__ for m in own if not type(m).__module__.startswith("torch.")})
    if more:
        sentence = f"Subclasses that may do more than normalise are kept as they are: {some(more)}."
        yield Finding("normalisation", "ok", sentence)
    foreign = sorted(
        {type(m).__name__ for m in model.modules() if m not in own and "running_mean" in m._buffers}
    )
    if foreign:
        sentence = (
            f"{some(foreign)} holds running statistics but is no BatchNorm of torch: it keeps those"
            " of training, and its parameters are not adapted."
        )
        yield Finding("normalisation", "warning", sentence)
