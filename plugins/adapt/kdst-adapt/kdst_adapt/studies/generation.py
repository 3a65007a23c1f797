"""Images that the classifier itself draws, conditional on a class, before and after adaptation.

As an energy model, a classifier f has p(x | y) ∝ exp(f(x)[y]) (JEM; TEA, section 5.3). Images are drawn
by stochastic gradient Langevin dynamics from uniform noise, the same noise for every network.
"""

from collections.abc import Mapping, Sequence

import torch
from attrs import define
from torch import Generator, Tensor, nn

from kdst_adapt import pictures
from kdst_adapt.studies.probe import NetworkProbe, energies, network, place
from kdst_batch.statistics import Z_975
from kdst_core.contracts import OnlinePredictor
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure

STEPS, SIZE, STD = 100, 0.1, 0.01
"""Steps of SGLD, their size along the gradient, standard deviation of the noise."""
CLASSES, EACH = 10, 5
"""Classes shown, the first ones where there are more, and images of each."""
BEFORE = "before"


def sample(
    model: nn.Module, labels: Tensor, shape: tuple[int, int, int], generator: Generator
) -> Tensor:
    """Return images (B, C, H, W) in [0, 1] drawn from p(x | y) for labels (B,).

    x ← x + SIZE · ∇ₓ f(x)[y] + STD · N(0, 1), clamped to [0, 1], STEPS times.
    """
    device, dtype = place(model)
    size = (len(labels), *shape)
    x = torch.rand(size, generator=generator).to(device, dtype)
    labels = labels.to(device)
    for _ in range(STEPS):
        x = x.requires_grad_()
        density = model(x).gather(1, labels[:, None]).sum()
        (score,) = torch.autograd.grad(density, x)
        noise = torch.randn(size, generator=generator).to(device, dtype)
        x = (x.detach() + SIZE * score + STD * noise).clamp(0, 1)
    return x.detach()


@define
class Generation(NetworkProbe):
    """Draws images before adaptation, and at the end of every stream."""

    streams: Sequence[str] = ()
    shape: tuple[int, int, int] = (3, 32, 32)
    num_classes: int = 10
    seed: int = 0

    def measure(self, number: int, predictors: Mapping[str, OnlinePredictor]) -> None:
        """Keep images and, for each, its energy and whether the network as trained sees its class."""
        *_, method = predictors
        if f"{BEFORE}.images" not in self.found:
            self._draw(BEFORE, network(predictors["norm"]), predictors["source"])
        self._draw(self.streams[number], network(predictors[method], method), predictors["source"])

    def _draw(self, name: str, model: nn.Module, source: OnlinePredictor) -> None:
        """Draw images from a network."""
        labels = torch.arange(min(self.num_classes, CLASSES)).repeat_interleave(EACH)
        images = sample(model, labels, self.shape, Generator().manual_seed(self.seed))
        judge = network(source)
        device, dtype = place(judge)
        with torch.no_grad():
            seen = judge(images.to(device, dtype)).argmax(1).cpu() == labels
        self.found[f"{name}.images"] = images.to("cpu", torch.float32)
        self.found[f"{name}.energy"] = energies(model, images)
        self.found[f"{name}.recognised"] = seen.float()


def metrics(found: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean energies of the images and the share recognised, `study.generation.….STREAM`."""
    out: dict[str, float] = {}
    for key, values in found.items():
        name, _, what = key.rpartition(".")
        if what == "images":
            continue
        out[f"study.generation.{what}.{name}"] = values.double().mean().item()
        if what == "energy":
            error = values.double().std().item() / len(values) ** 0.5
            out[f"study.generation.energy.error.{name}"] = error
    return out


def grid(found: Mapping[str, Tensor], stream: str) -> bytes:
    """Return a picture, a row a class: images before adaptation, then those after a stream."""
    before, after = (found[f"{n}.images"].split(EACH) for n in (BEFORE, stream))
    return pictures.grid([torch.cat(pair) for pair in zip(before, after, strict=True)])


def lines(found: Mapping[str, float], streams: Sequence[str]) -> list[str]:
    """Return what the terminal says."""
    out = ["images drawn from the model: energy, and share that the model as trained recognises"]
    for name in (BEFORE, *streams):
        energy, error = (found[f"study.generation.energy.{k}"] for k in (name, f"error.{name}"))
        seen = found[f"study.generation.recognised.{name}"]
        label = "before adaptation" if name == BEFORE else f"after {name}"
        out.append(f"  {label}: {energy:.2f} ± {Z_975 * error:.2f}, {100 * seen:.0f} %")
    return out


def figures(
    found: Mapping[str, float], streams: Sequence[str], classes: int, png: bytes
) -> list[Figure]:
    """Return the grid of images, and their energies with 95 % intervals over the images."""
    shown = ", ".join(map(str, range(min(classes, CLASSES))))
    caption = (
        f"A row a class ({shown}): {EACH} images before adaptation, then {EACH} from the same noise"
        f" after the stream {streams[-1]}. {STEPS} steps of SGLD from uniform noise."
    )
    grid_figure = Figure("Images drawn from the model, by class", caption, png=png, pixelated=True)
    names = [BEFORE, *streams]
    with charts.figure(4.8, 1.0 + 0.26 * len(names)) as (fig, axes):
        for y, name in enumerate(names):
            energy, error = (found[f"study.generation.energy.{k}"] for k in (name, f"error.{name}"))
            colour = charts.SERIES[1 if name == BEFORE else 2]
            axes.errorbar([energy], [y], xerr=[Z_975 * error], fmt="o", color=colour, capsize=3)
        axes.margins(y=0.5 / len(names))
        axes.locator_params(axis="x", nbins=6)
        axes.set_yticks(range(len(names)), ["before", *(f"after {s}" for s in streams)])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("mean energy, -logsumexp f(x)")
        picture = charts.svg(fig, "generation")
    note = "Each by the network that drew them. Bars: 95 % interval over the images."
    return [grid_figure, Figure("Energy of the images drawn", note, svg=picture)]
