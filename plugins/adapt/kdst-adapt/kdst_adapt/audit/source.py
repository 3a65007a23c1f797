"""What the audit finds of source's predictions: at chance, or better behind another normalisation."""

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor, nn

from kdst_adapt.audit.findings import Finding
from kdst_adapt.measures import near_chance
from kdst_adapt.models.norms import adaptable_copy
from kdst_adapt.models.resnet import Normalized
from kdst_adapt.streams.sampling import cut
from kdst_adapt.streams.shift import Shift

FIRST, MOST = 32, 128
"""Clean images that every normalisation is tried on, and those that a promising one is."""
MILD = 2
"""Severity up to which shifted images stand for clean ones where there are none."""
GOOD = 0.95
"""Accuracy from which on no other normalisation is tried."""
PROMISING, CLEAR = 0.5, 3.0
"""Student's t of a gain in log-likelihood from which on a normalisation is tried further, and is better."""
WORTH, USEFUL = 0.05, 0.5
"""Gain of the mean log-likelihood, in nats, and accuracy from which on it is worth a warning."""
USUAL = {
    "none": ((0.0,), (1.0,)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "a half": ((0.5,), (0.5,)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "pixels of 0 to 255": ((0.0,), (1 / 255,)),
}
"""Means and standard deviations in use, for pixels in [0, 1]."""


@frozen
class Outcome:
    """What a network makes of images: loss (N,) in nats, and whether it is right (N,)."""

    losses: NDArray[np.float64]
    hits: NDArray[np.bool_]


def of_source(model: nn.Module, device: str, shifts: Sequence[Shift]) -> list[Finding]:
    """Return how source does on a few clean images, and which usual normalisation would do better."""
    chosen = _clean(shifts)
    if chosen is None:
        return [Finding("source", "ok", "Not tried: there are no clean or mildly shifted images.")]
    x, labels, kind = chosen
    net = adaptable_copy(model, device, batch_statistics=False)
    classes = _logits(net, x[:2], device).shape[1]
    now = _outcome(net, x[:FIRST], labels, device)
    if now is None:
        return []
    chance, count, share = 1 / classes, len(now.hits), float(now.hits.mean())
    told = f"Source is right for {share:.0%} of {count} {kind} images"
    better = ""
    if share < GOOD and count >= 8:
        better = _better(net, now, x, labels, device, clean=kind == CLEAN)
    if better:
        return [Finding("source", "warning", f"{told}; {better}")]
    if near_chance(int(now.hits.sum()), count, chance):
        sentence = (
            f"{told}, near chance ({chance:.1%}), and no usual normalisation does better: check the"
            " order of the classes, --mean and --std, and the weights."
        )
        return [Finding("source", "warning", sentence)]
    return [Finding("source", "ok", told + ".")]


CLEAN, SHIFTED = "clean", "mildly shifted"
"""Words for the images that source is tried on."""


def _clean(shifts: Sequence[Shift]) -> tuple[Tensor, NDArray[np.int64], str] | None:
    """Return some images, their labels, and a word for them: clean, or mildly shifted.

    Images that a run corrupts on the fly are taken as they were before.
    """
    usable = [s for s in shifts if s.corruption or s.severity <= MILD]
    if not usable or usable[0].order:  # images of several shifts
        return None
    shift = copy.copy(usable[0])
    object.__setattr__(shift, "corruption", None)
    rows = np.random.default_rng(0).permutation(len(shift.labels))[:MOST]
    kind = CLEAN if shift.severity == 0 or usable[0].corruption else SHIFTED
    return shift.pictures(rows), shift.labels[rows].astype(np.int64), kind


@torch.no_grad()
def _logits(net: nn.Module, x: Tensor, device: str) -> Tensor:
    """Return the logits (N, classes) of images (N, C, H, W), on the CPU in float64."""
    dtype = next((p.dtype for p in net.parameters()), x.dtype)
    parts = [x[torch.from_numpy(rows)] for rows in cut(np.arange(len(x)), FIRST)]
    return torch.cat([net(part.to(device, dtype)).to("cpu", torch.float64) for part in parts])


def _outcome(net: nn.Module, x: Tensor, labels: NDArray[np.int64], device: str) -> Outcome | None:
    """Return what a network makes of images; None for broken logits. labels: of these and more images."""
    logits, wanted = _logits(net, x, device), torch.from_numpy(labels[: len(x)])
    if not logits.isfinite().all():
        return None
    losses = nn.functional.cross_entropy(logits, wanted, reduction="none")
    return Outcome(losses.numpy(), (logits.argmax(1) == wanted).numpy())


def _better(
    net: nn.Module,
    first: Outcome,
    x: Tensor,
    labels: NDArray[np.int64],
    device: str,
    *,
    clean: bool,
) -> str:
    """Return a sentence on the usual normalisation that is clearly better than the model's, or ''.

    first: what the model makes of the first images. Each normalisation is tried on these, and on all
    where it gains there.
    """
    inner = net.net if isinstance(net, Normalized) else net
    whole = first if len(x) == len(first.hits) else None
    best, text = 0.0, ""
    for name, (mean, std) in USUAL.items():
        if len(mean) not in (1, x.shape[1]):
            continue
        means, stds = (list(v) * (x.shape[1] if len(v) == 1 else 1) for v in (mean, std))
        tried = Normalized(inner, means, stds).to(device).eval()
        found = _outcome(tried, x[:FIRST], labels, device)
        if found is None or _t(first, found) < PROMISING:
            continue
        whole = whole or _outcome(net, x, labels, device)
        if len(x) > FIRST:
            found = _outcome(tried, x, labels, device)
        if found is None or whole is None or not _is_better(whole, found, clean=clean):
            continue
        gain = float((whole.losses - found.losses).mean())
        if gain > best:
            best = gain
            numbers = " ".join(
                f"--{option} {','.join(f'{v:.4g}' for v in values)}"
                for option, values in (("mean", means), ("std", stds))
            )
            text = (
                f"with {numbers} ({name}) it is right for {found.hits.mean():.0%} of {len(x)} and its"
                f" loss falls from {whole.losses.mean():.2f} to {found.losses.mean():.2f} nats."
            )
    return text


def _is_better(now: Outcome, other: Outcome, *, clean: bool) -> bool:
    """Return whether another normalisation is better beyond doubt.

    On clean images likelihood decides, on shifted ones hits alone, as it may make up for the shift.
    """
    won, lost = int((other.hits & ~now.hits).sum()), int((now.hits & ~other.hits).sum())
    if won - lost > max(3 * math.sqrt(won + lost), 3):
        return True
    gain = float((now.losses - other.losses).mean())
    sure = gain > WORTH and _t(now, other) > CLEAR
    return clean and sure and won > lost and float(other.hits.mean()) > USEFUL


def _t(now: Outcome, other: Outcome) -> float:
    """Return Student's t of the paired gain in log-likelihood."""
    gains = now.losses - other.losses
    return float(gains.mean() / max(gains.std(ddof=1) / math.sqrt(len(gains)), 1e-12))
