"""What the audit finds of a model: its layout, weights, normalisation layers, and how it reads pixels."""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdst_adapt.audit import Finding
from kdst_adapt.data import Shift
from kdst_adapt.kit import NORMS, adaptable_copy, select_parameters
from kdst_adapt.resnet import Normalized
from kdst_adapt.update import UpdateOptions
from kdst_adapt.wiring import sample, try_out

IMAGES = 32
"""Clean images that source is tried on."""
MILD = 2
"""Severity up to which shifted images stand for clean ones where there are none."""
GOOD = 0.75
"""Accuracy from which on no other normalisation is tried."""
USUAL = {
    "none": ((0.0,), (1.0,)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "a half": ((0.5,), (0.5,)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "pixels of 0 to 255": ((0.0,), (1 / 255,)),
}
"""Means and standard deviations in use, for pixels in [0, 1]."""


def examine(
    model: nn.Module,
    example: Tensor,
    device: str,
    options: Any,
    shifts: Sequence[Shift],
) -> list[Finding]:
    """Return findings on a model: precision, layout, parameters without effect, norms, source's accuracy."""
    found = [*_wiring(model, example, device, options), *_norms(model)]
    if getattr(model, "was_half", False):
        found.append(
            Finding("precision", "mended", "The model came in half precision; it runs in float32.")
        )
    return found + _accuracy(model, device, shifts)


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


def _accuracy(model: nn.Module, device: str, shifts: Sequence[Shift]) -> list[Finding]:
    """Return how source does on a few clean images, and which usual normalisation would do better."""
    chosen = _clean(shifts)
    if chosen is None:
        return [Finding("source", "ok", "Not tried: there are no clean or mildly shifted images.")]
    x, labels, kind = chosen
    net = adaptable_copy(model, device, batch_statistics=False)
    right = _right(net, x, labels, device)
    if right is None:
        return []
    chance, count = 1 / right.shape[1], len(labels)
    hits: np.ndarray = np.any(right, axis=1)
    share = float(hits.mean())
    near = share <= chance + 2 * math.sqrt(chance * (1 - chance) / count)
    better = _better(net, x, labels, device, hits) if share < GOOD and count >= 8 else ""
    told = f"Source is right for {share:.0%} of {count} {kind} images"
    if better:
        return [Finding("source", "warning", f"{told}; {better}")]
    if near and count * (1 - chance) >= 20:
        sentence = (
            f"{told}, near chance ({chance:.1%}), and no usual normalisation does better: check the"
            " order of the classes, --mean and --std, and the weights."
        )
        return [Finding("source", "warning", sentence)]
    return [Finding("source", "ok", told + ".")]


def _clean(shifts: Sequence[Shift]) -> tuple[Tensor, np.ndarray, str] | None:
    """Return some images, their labels, and a word for them: clean, or mildly shifted.

    Images that a run corrupts on the fly are taken as they were before.
    """
    usable = [s for s in shifts if s.corruption or s.severity <= MILD]
    if not usable or usable[0].name == "mixed":
        return None
    shift = copy.copy(usable[0])
    object.__setattr__(shift, "corruption", None)
    rows = np.random.default_rng(0).permutation(len(shift.labels))[:IMAGES]
    x = shift.pictures(np.sort(rows))
    kind = "clean" if shift.severity == 0 or usable[0].corruption else "mildly shifted"
    return x, np.asarray(shift.labels)[np.sort(rows)], kind


@torch.no_grad()
def _right(net: nn.Module, x: Tensor, labels: np.ndarray, device: str) -> np.ndarray | None:
    """Return (N, classes): True at the label where the prediction is right; None for broken logits."""
    dtype = next((p.dtype for p in net.parameters()), x.dtype)
    logits = net(x.to(device, dtype)).cpu()
    if not logits.isfinite().all():
        return None
    at = torch.arange(logits.shape[1])
    wanted = torch.as_tensor(labels.astype("int64"))[:, None] == at
    found: np.ndarray = (wanted & (logits.argmax(1)[:, None] == at)).numpy()
    return found


def _better(net: nn.Module, x: Tensor, labels: np.ndarray, device: str, now: np.ndarray) -> str:
    """Return a sentence on the usual normalisation that is clearly better than the model's, or ''."""
    inner = net.net if isinstance(net, Normalized) else net
    best, text = 0.0, ""
    for name, (mean, std) in USUAL.items():
        if len(mean) not in (1, x.shape[1]):
            continue
        means, stds = (list(v) * (x.shape[1] if len(v) == 1 else 1) for v in (mean, std))
        tried = Normalized(inner, means, stds).to(device).eval()
        right = _right(tried, x, labels, device)
        if right is None:
            continue
        hits = right.any(1)
        won, lost = int((hits & ~now).sum()), int((now & ~hits).sum())
        if won - lost > max(3 * math.sqrt(won + lost), 3, best):
            best = won - lost
            numbers = " ".join(
                f"--{option} {','.join(f'{v:.4g}' for v in values)}"
                for option, values in (("mean", means), ("std", stds))
            )
            text = f"with {numbers} ({name}) it is right for {hits.mean():.0%}."
    return text


def _some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
