"""What `kdst compare` needs of runs that invert: columns, and a paired test on the same texts."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdst_batch.comparable import Column, Contender, first_difference
from kdst_core.errors import KdstError
from kdst_core.reports import charts
from kdst_core.reports.blocks import Figure, Stat
from kdst_invert.inputs import InvertInputs
from kdst_show.artifacts import Artifacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from kdst_invert.measures.scores import Scores

    Array = NDArray[np.float64]

BY_TEXT = "by_text.npz"
"""Artifact with the last measures of every text."""
FIRST = ("token_f1", "cosine")
"""What methods are ranked by: words read, or where no text is known the cosine to the vectors."""
PROTOCOL = (
    *("embedder_name", "dimension", "normalised", "rows", "notes", "texts_known", "prefix"),
    *("prompt", "pooling", "stage", "study"),
)
"""What must be equal in the inputs of results that are compared."""


def seeded(inputs: InvertInputs) -> bool:
    """Return whether the seed changes what is inverted: it draws the embedded notes."""
    return inputs.texts is None and inputs.embeddings is None


def refuse(inputs: InvertInputs) -> None:
    """Raise KdstError for a study, which has no figure for each text to pair by."""
    if inputs.study != "none":
        raise KdstError(
            f"--study {inputs.study} has no figure for each text, so methods cannot be paired by it.\n"
            "Compare without --study, or run the study for each method"
        )


def pack(scores: "Scores", vectors: "Tensor") -> bytes:
    """Return the last measures of every text as an npz file, and a digest of the vectors."""
    import numpy as np

    buffer = io.BytesIO()
    last: dict[str, Any] = {name: values[:, -1] for name, values in scores.values.items()}
    digest = hashlib.sha256(vectors.contiguous().numpy().data).hexdigest()
    np.savez_compressed(buffer, digest=np.array(digest), **last)
    return buffer.getvalue()


def unpack(directory: Path) -> "tuple[Array, str]":
    """Return the figure of every text that methods are ranked by, and the digest of the vectors.

    Raises KdstError where the run does not hold them.
    """
    import numpy as np

    path = directory / "artifacts" / BY_TEXT
    try:
        with np.load(path, allow_pickle=False) as file:
            name = next(n for n in FIRST if n in file)
            return file[name].astype(np.float64), str(file["digest"])
    except (OSError, ValueError, KeyError, StopIteration) as e:
        raise KdstError(f"cannot read {path}, which a comparison needs: {e}") from e


def columns(result: Mapping[str, Any]) -> list[Column]:
    """Return the columns: words, whole texts, names, cosine, and what they cost."""
    read = [
        Column("token_f1.final", "token F1", digits=3),
        Column("exact.final", "exact, %", 100, 1),
        Column("names.final", "names, %", 100, 1),
        Column("bleu.final", "BLEU", digits=3, short=False),
    ]
    known = "token_f1.final" in result["metrics"]
    return [
        *(read if known else []),
        Column("cosine.final", "cosine", digits=4),
        Column("embedder_calls_per_text", "calls a text", digits=1, better="lower"),
        Column("texts_per_second", "texts a second", digits=2, short=False),
    ]


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Return the first part of the protocol in which two results differ, '' where they agree."""
    return first_difference(ours, theirs, PROTOCOL)


def paired(ours: Contender, theirs: Contender) -> tuple[float, float]:
    """Return the difference of the first column's metric and its standard error, paired by text.

    Where every seed has the same texts, the error of the seeds comes to that of the texts. KdstError
    where the vectors of the two differ.
    """
    import numpy as np

    mine, others = ([unpack(d) for d in c.directories] for c in (ours, theirs))
    count = max(len(mine), len(others))
    mine, others = (x if len(x) == count else x[:1] * count for x in (mine, others))
    gaps = []
    for (a, one), (b, other) in zip(mine, others, strict=True):
        if one != other:
            raise KdstError(
                f"{ours.label} and {theirs.label} inverted other vectors under one seed"
            )
        gaps.append(a - b)
    means = [float(gap.mean()) for gap in gaps]
    if len({digest for _, digest in mine}) > 1:
        variance = sum(_variance(gap) for gap in gaps) / count**2
    else:
        of_seeds = float(np.var(means, ddof=1)) / count if count > 1 else 0.0
        variance = _variance(np.mean(gaps, axis=0)) + of_seeds
    return float(np.mean(means)), variance**0.5


def _variance(gap: "Array") -> float:
    """Return the variance of the mean of one difference a text."""
    return float(gap.var(ddof=1) / len(gap)) if len(gap) > 1 else 0.0


def comparison(contenders: Sequence[Contender]) -> tuple[list[Stat], list[Figure]]:
    """Return who read most and who asked least, and what was read step by step and for what price."""
    name = columns(contenders[0].results[0])[0].metric
    most = max(contenders, key=lambda c: _mean(c, name))
    least = min(contenders, key=lambda c: _mean(c, "embedder_calls_per_text"))
    stats = [_stat("read most", most, name)]
    if least is not most:
        stats.append(_stat("asked least", least, name))
    return stats, [_price(contenders, name), _steps(contenders, name.partition(".")[0])]


def _mean(who: Contender, name: str) -> float:
    """Return the mean of a metric over seeds."""
    return sum(r["metrics"][name] for r in who.results) / len(who.results)


def _stat(what: str, who: Contender, name: str) -> Stat:
    """Return a method with what it read and asked."""
    calls = _mean(who, "embedder_calls_per_text")
    return Stat(what, who.label, f"{_mean(who, name):.3f}, {calls:.1f} embedder calls a text")


def _price(contenders: Sequence[Contender], name: str) -> Figure:
    """Return what was read over what was asked, a point a method."""
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, who in enumerate(contenders):
            colour = charts.SERIES[(number + 1) % len(charts.SERIES)]
            calls = _mean(who, "embedder_calls_per_text")
            axes.plot([calls], [_mean(who, name)], "o", color=colour, label=who.label)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("embedder calls a text")
        axes.set_ylabel(name.partition(".")[0].replace("_", " "))
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "price")
    return Figure(
        "What was read, and for how many calls", "Means over texts and seeds.", svg=picture
    )


def _steps(contenders: Sequence[Contender], measure: str) -> Figure:
    """Return what was read after each step, of the first seed of every method."""
    with charts.figure(5.4, 3.4) as (fig, axes):
        for number, who in enumerate(contenders):
            scores = Artifacts(who.results[0], who.directories[0]).json("scores.json")
            line = [value for value, _, _ in scores["measures"][measure]]
            colour = charts.SERIES[(number + 1) % len(charts.SERIES)]
            axes.plot(range(len(line)), line, marker="o", ms=4, color=colour, label=who.label)
        axes.set_xlabel("step; 0 is the first hypothesis")
        axes.set_ylabel(measure.replace("_", " "))
        fig.legend(loc="outside upper left", ncols=3, handlelength=1.2, fontsize=9)
        picture = charts.svg(fig, "steps")
    caption = "Means over the texts of the first seed; steps of different methods cost differently."
    return Figure("Step by step", caption, svg=picture)
