"""Label-free criteria by which a setting of a method can be chosen (Cygert et al., 2024)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from attrs import define
from torch import Tensor, nn

from kdst_adapt.augment import augment
from kdst_adapt.kit import entropy
from kdst_adapt.studies.probe import Probe, network, place
from kdst_batch.comparable import Column
from kdst_core.contracts import OnlinePredictor
from kdst_core.errors import KdstError

TEMPERATURE = 0.05
"""Of soft neighbourhood density, as in its paper."""
SOURCE_BATCHES = 5
"""Batches of source data that the network classifies at the end of every stream, at most."""
PREFIX = "study.selection."
CRITERIA = (
    Column(f"{PREFIX}entropy", "entropy", better="lower", digits=4),
    Column(f"{PREFIX}consistency", "consistency", better="lower", digits=4),
    Column(f"{PREFIX}snd", "SND", digits=4),
    Column(f"{PREFIX}source_accuracy", "source accuracy", 100),
)
"""In which direction each is better: an entropy, a loss, a density and an accuracy."""


def soft_neighbourhood_density(p: Tensor, temperature: float = TEMPERATURE) -> float:
    """Return the SND of probabilities (B, C), B at least 2 (Saito et al., 2021, equations 1 to 3).

    The mean entropy of each image's distribution over its neighbours, by cosines of the probabilities.
    """
    unit = nn.functional.normalize(p.double(), dim=1)
    similarity = unit @ unit.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    weight = similarity.softmax(1)
    return float(torch.special.entr(weight).sum(1).mean())


def consistency(logits: Tensor, varied: Tensor) -> float:
    """Return the mean cross-entropy in nats of predictions on varied images to those on the images.

    logits, varied: (B, C), of the images and of their augmented copies.
    """
    return float(-(logits.softmax(1) * varied.log_softmax(1)).sum(1).mean())


@torch.no_grad()
def shown(net: nn.Module, images: Tensor) -> Tensor:
    """Return logits (B, C), float64 on the CPU; the network's buffers stay as they are."""
    device, dtype = place(net)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    with torch.random.fork_rng():
        logits: Tensor = net(images.to(device, dtype)).to("cpu", torch.float64)
    for name, buffer in net.named_buffers():
        if name in before and buffer.shape == before[name].shape:
            buffer.copy_(before[name])
    return logits


@define
class Selection(Probe):
    """Measures each criterion on every batch, and source accuracy at the end of every stream.

    `found` has, for each criterion and stream, the sum over images and their number. Criteria that need
    the network are left out where a method does not show it, source accuracy where no source data are.
    source: batches (images (B, C, H, W), labels (B,)) of the training distribution.
    """

    seed: int = 0
    source: Sequence[tuple[Tensor, Tensor]] | None = None

    def see(self, number: int, predictor: OnlinePredictor, x: Tensor, logits: Tensor) -> None:
        """Measure after a batch of images (B, C, H, W) of stream `number`; logits: as returned."""
        count = len(x)
        self._add("entropy", number, float(entropy(logits).mean()), count)
        if count > 1:
            self._add("snd", number, soft_neighbourhood_density(logits.softmax(1)), count)
        if (net := _network(predictor)) is not None:
            drawn = int(self.found.get("drawn", torch.zeros(())))
            generator = torch.Generator().manual_seed(self.seed + drawn)
            varied = augment(x, generator)
            self._add("consistency", number, consistency(shown(net, x), shown(net, varied)), count)
            self.found["drawn"] = torch.tensor(drawn + 1)

    def measure(self, number: int, predictors: Mapping[str, OnlinePredictor]) -> None:
        """Measure the accuracy on source data after stream `number`."""
        net = _network([*predictors.values()][-1])
        if net is None or self.source is None:
            return
        for k in range(min(SOURCE_BATCHES, len(self.source))):
            images, labels = self.source[k]
            right = (shown(net, images).argmax(1) == labels).double().mean()
            self._add("source_accuracy", number, float(right), len(labels))

    def _add(self, criterion: str, number: int, mean: float, count: int) -> None:
        """Add a mean over images to what is known of a stream."""
        key = f"{criterion}.{number}"
        before = self.found.get(key, torch.zeros(2, dtype=torch.float64))
        self.found[key] = before + torch.tensor([mean * count, count], dtype=torch.float64)


def _network(predictor: OnlinePredictor) -> nn.Module | None:
    """Return the network of a predictor, None where it does not show it."""
    try:
        return network(predictor)
    except KdstError:
        return None


def metrics(found: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Return each criterion as the mean over streams; None where it could not be measured."""
    values: dict[str, list[float]] = {}
    for key, (total, count) in ((k, v) for k, v in found.items() if k != "drawn"):
        values.setdefault(key.partition(".")[0], []).append(float(total / count))
    names = [c.metric.removeprefix(PREFIX) for c in CRITERIA]
    return {
        PREFIX + name: sum(values[name]) / len(values[name]) if name in values else None
        for name in names
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return what the terminal says of the criteria."""
    told = [
        f"{c.label} {c.scale * found[c.metric]:.{c.digits}f}" for c in CRITERIA if c.metric in found
    ]
    return ["criteria: " + ", ".join(told)]
