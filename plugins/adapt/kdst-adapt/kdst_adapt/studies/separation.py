"""How well free energy tells clean, shifted and unrelated images apart, before and after adaptation.

The energy E(x) = -logsumexp_y f(x)[y] of images of each kind is taken in batches of their own, since
BatchNorm by the statistics of the batch sees the whole batch; nothing is updated while measuring.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from attrs import define
from torch import Tensor

from kdst_adapt.corruptions.weather import plasma
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.streams import data
from kdst_adapt.streams.sampling import cut
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_adapt.studies.probe import NetworkProbe, energies, network
from kdst_core.contracts import OnlinePredictor
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure

KINDS = ("clean", "shifted", "unrelated")
"""From what should have the lowest energy to what should have the highest."""
BASELINES = ("source", "norm")
MOST = 1000
"""Images of each kind."""
DECAY = 1.75
"""Decay of roughness of the fractals, that of the strongest fog."""


def kinds(inputs: AdaptInputs, shifts: Sequence[Shift], seed: int) -> dict[str, Shift]:
    """Return clean images where there are any, and unrelated ones: those given, or coloured fractals."""
    found: dict[str, Shift] = {}
    if inputs.clean:
        found["clean"] = _given("--clean", inputs.clean, inputs, shifts[0], seed)
    elif inputs.data == "digits":
        from kdst_adapt.default import data as digits

        found["clean"] = Shift("clean", 0, *digits.load(train=False))
    if inputs.unrelated:
        found["unrelated"] = _given("--unrelated", inputs.unrelated, inputs, shifts[0], seed)
    else:
        count = min(MOST, max(len(s.labels) for s in shifts))
        images = fractals(count, shifts[0].input_shape, seed)
        found["unrelated"] = Shift("unrelated", 0, images, np.zeros(count, np.int64))
    return found


def _given(flag: str, name: str, inputs: AdaptInputs, like: Shift, seed: int) -> Shift:
    """Return images of a file or folder; KdstError when their shape is not that of the streams."""
    if name.partition(":")[0] not in ("npz", "folder"):
        raise KdstError(f"{flag} {name!r} is not understood; give npz:FILE or folder:DIR")
    framed = name.startswith("folder:")
    resize, crop = (inputs.resize, inputs.crop) if framed else (None, None)
    shift = data.load(AdaptInputs(data=name, resize=resize, crop=crop), seed)[0]
    if shift.input_shape != like.input_shape:
        got, wanted = ("×".join(map(str, s.input_shape)) for s in (shift, like))
        raise KdstError(f"{flag}: images of {got} (C×H×W), those of the streams are {wanted}")
    return shift


def fractals(count: int, shape: tuple[int, int, int], seed: int) -> np.ndarray[Any, Any]:
    """Return clouds (count, H, W, C) in [0, 1]: a diamond-square fractal of its own for each channel."""
    channels, height, width = shape
    size = 1 << (max(height, width) - 1).bit_length()
    rng = np.random.default_rng([seed, 2])
    planes = [plasma(size, DECAY, rng)[:height, :width] for _ in range(count * channels)]
    stacked = np.stack(planes).reshape(count, channels, height, width)
    return stacked.transpose(0, 2, 3, 1).astype(np.float32)


@define
class Separation(NetworkProbe):
    """Energies of every kind under every network, at the end of each stream."""

    stream: Stream | None = None
    kinds: Mapping[str, Shift] | None = None

    def measure(self, number: int, predictors: Mapping[str, OnlinePredictor]) -> None:
        """Keep energies (N,) as `METHOD.KIND.STREAM`; those of networks that stay as they are once."""
        assert self.stream is not None
        assert self.kinds is not None
        shift, method = self.stream.shifts[number], list(predictors)[-1]
        for name, predictor in predictors.items():
            model = network(predictor, name)
            for kind, images in {**self.kinds, "shifted": shift}.items():
                fixed = name != method and kind != "shifted"
                key = f"{name}.{kind}" if fixed else f"{name}.{kind}.{shift.key}"
                if key not in self.found:
                    batches = self._batches(images)
                    self.found[key] = torch.cat([energies(model, x) for x in batches])

    def _batches(self, images: Shift) -> list[Tensor]:
        """Return the first images of a kind, in batches as large as the stream's, at least of 16."""
        assert self.stream is not None
        rows = np.arange(min(MOST, len(images.labels)))
        size = max(self.stream.batch_size, 16)
        return [images.pictures(part) for part in cut(rows, size)]


def auroc(lower: Tensor, higher: Tensor) -> float:
    """Return the share of pairs in which the second has the higher energy, ties counted half."""
    from scipy.stats import rankdata

    ranks = rankdata(torch.cat([lower, higher]).double().numpy())
    count = len(higher)
    above = ranks[len(lower) :].sum() - count * (count + 1) / 2
    return float(above / (count * len(lower)))


def metrics(found: Mapping[str, Tensor], streams: Sequence[str], method: str) -> dict[str, float]:
    """Return AUROCs, `study.auroc.A-B.METHOD.STREAM` and mean, and the gain of the method over norm.

    The interval of the gain is Student's t over the streams.
    """
    names = list(dict.fromkeys(key.partition(".")[0] for key in found))
    out: dict[str, float] = {}
    for a, b in combinations(KINDS, 2):
        if not any(key.startswith(f"{method}.{a}") for key in found):
            continue
        of: dict[str, list[float]] = {}
        for name in names:
            of[name] = [auroc(_get(found, name, a, s), _get(found, name, b, s)) for s in streams]
            key = f"study.auroc.{a}-{b}.{name}"
            out |= {f"{key}.{s}": v for s, v in zip(streams, of[name], strict=True)}
            out[f"{key}.mean"] = float(np.mean(of[name]))
        gain = np.subtract(of[method], of["norm"])
        out |= {f"study.auroc.{a}-{b}.gain{k}": v for k, v in _interval(gain).items()}
    return out


def _get(found: Mapping[str, Tensor], name: str, kind: str, stream: str) -> Tensor:
    """Return energies of a kind: after a stream, or those that hold for all."""
    return found[f"{name}.{kind}.{stream}" if f"{name}.{kind}" not in found else f"{name}.{kind}"]


def _interval(values: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Return mean and 95 % interval (Student's t); no interval for fewer than two values."""
    from scipy.stats import t

    mean, count = float(values.mean()), len(values)
    if count < 2:
        return {"": mean}
    reach = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5)
    return {"": mean, ".low": mean - reach, ".high": mean + reach}


def _pairs(found: Mapping[str, float]) -> list[str]:
    """Return the pairs of kinds that were measured, `clean-shifted`."""
    start, end = "study.auroc.", ".gain"
    return [k[len(start) : -len(end)] for k in found if k.startswith(start) and k.endswith(end)]


def _names(found: Mapping[str, float], pair: str) -> list[str]:
    """Return the networks: both baselines', then the method's."""
    start, end = f"study.auroc.{pair}.", ".mean"
    names = [k[len(start) : -len(end)] for k in found if k.startswith(start) and k.endswith(end)]
    return [*BASELINES, *(n for n in names if n not in BASELINES)]


def lines(found: Mapping[str, float]) -> list[str]:
    """Return what the terminal says."""
    out = []
    for pair in _pairs(found):
        key = f"study.auroc.{pair}"
        names = _names(found, pair)
        text = ", ".join(f"{n} {found[f'{key}.{n}.mean']:.3f}" for n in names)
        out.append(f"AUROC of energy, {pair.replace('-', ' against ')}: {text}{_gain(found, pair)}")
    return out


def _gain(found: Mapping[str, float], pair: str) -> str:
    """Return the method's gain over norm as text."""
    key = f"study.auroc.{pair}.gain"
    if key + ".low" not in found:
        return ""
    low, high = found[key + ".low"], found[key + ".high"]
    return f"; over norm {found[key]:+.3f} ({low:+.3f} to {high:+.3f})"


def figure(found: Mapping[str, float], streams: Sequence[str]) -> list[Figure]:
    """Draw the AUROCs: a row a pair and network, a faint dot a stream, a strong one their mean."""
    pairs = _pairs(found)
    if not pairs:
        return []
    names = _names(found, pairs[0])
    with charts.figure(4.8, 0.9 + 0.24 * len(pairs) * (len(names) + 1)) as (fig, axes):
        ticks: list[tuple[float, str]] = []
        for block, pair in enumerate(pairs):
            for row, name in enumerate(names):
                y = block * (len(names) + 1) + row
                key = f"study.auroc.{pair}.{name}"
                values = [found[f"{key}.{s}"] for s in streams]
                colour = charts.SERIES[row % len(charts.SERIES)]
                axes.plot(values, [y] * len(values), "o", color=colour, ms=3.5, alpha=0.4)
                label = name if block == 0 else None
                axes.plot([found[f"{key}.mean"]], [y], "D", color=colour, ms=6, label=label)
            centre = block * (len(names) + 1) + (len(names) - 1) / 2
            ticks.append((centre, pair.replace("-", " against\n")))
        axes.axvline(0.5, color=charts.MUTED, lw=1, ls=(0, (4, 3)))
        axes.set_yticks([t for t, _ in ticks], [n for _, n in ticks])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("AUROC by free energy")
        fig.legend(loc="outside upper left", ncols=len(names), handletextpad=0.1)
        picture = charts.svg(fig, "separation")
    caption = (
        "The share of pairs of images in which the second kind has the higher energy; .5 is chance."
        " Dots: the network at the end of each stream; diamonds: their mean."
    )
    return [Figure("Telling clean, shifted and unrelated images apart", caption, svg=picture)]
