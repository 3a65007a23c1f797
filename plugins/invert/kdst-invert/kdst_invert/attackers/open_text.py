"""The reader of open text, for vectors of which the embedded inverter makes only guesses.

The embedded inverter writes clinical notes whatever it is given. Where most of its texts are guesses, the
words of some rows are read by another method, which learned them from English of many kinds.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from attrs import frozen

from kdst_core.errors import KdstError
from kdst_core.plugins import method
from kdst_invert.load import Target
from kdst_invert.loop import Attacked, Attacker
from kdst_invert.measures.chance import above, by_chance
from kdst_invert.measures.scores import final_texts, score_file

READER = "bow"
NAME = "open-text"
ROWS = 20
"""Rows that are read; each takes some hundred embedder calls."""
MOSTLY = 0.5
"""Share of guesses from which on the texts are taken for no notes."""
MEASURES = ("token_f1", "names", "cosine")


@frozen
class Reading:
    """What the reader of open text found. said: why nothing was read, or what to do about it."""

    metrics: Mapping[str, float]
    said: str


def is_open(metrics: Mapping[str, float], options: Any, notes: bool) -> bool:
    """Whether the embedded inverter met texts of another kind than its own, and may ask the embedder."""
    tiny = getattr(options, "model", None) == "tiny"
    asks = getattr(options, "budget", None) != 0
    return tiny and asks and not notes and metrics.get("guesses", 0.0) >= MOSTLY


def read(attacker: Attacker, target: Target) -> Reading:
    """Read the words of the first rows, where the reader is installed and fits the embedder."""
    try:
        reader = method.load_baseline(READER)
        other = copy(attacker)
        other.method, other.workers = reader, None
        options = reader.description.options()
        attacked = other.invert(NAME, target.vectors[:ROWS], options, "words of open text")
    except KdstError as e:
        return Reading({}, unread(str(e)))
    return Reading(_metrics(attacked, target), _SAID)


_SAID = (
    "the embedded inverter writes clinical notes only and most of its texts are guesses here, so the"
    f" texts are hardly notes: the figures open.… are what `kdst run {READER}` reads of the first rows, and"
    " that is the reader to use on them"
)


def unread(reason: str) -> str:
    """A warning where no reader of open text could be used."""
    first = reason.splitlines()[0]
    return (
        "the embedded inverter writes clinical notes only and most of its texts are guesses here, so the"
        f" texts are hardly notes, and nothing is said of what can be read. The reader of open text, {READER}"
        f" (package kdst-{READER}, vectors of MiniLM), cannot be used: {first}"
    )


def _metrics(attacked: Attacked, target: Target) -> dict[str, float]:
    """Its figures with their intervals, and what of the words is above chance."""
    originals = None if target.originals is None else target.originals.cut(range(attacked.rows))
    scores = score_file(attacked.file, attacked.rows, attacked.state.steps, originals)
    found = {
        "open.texts": float(attacked.rows),
        "open.embedder_calls_per_text": attacked.calls_per_text,
    }
    for name in (m for m in MEASURES if m in scores.values):
        last = scores.at(name)
        found |= {f"open.{name}": last.value, f"open.{name}.low": last.low}
        found[f"open.{name}.high"] = last.high
    if originals is not None:
        shared = by_chance(final_texts(attacked.file, attacked.rows), originals)
        for name, gain in above({n: v[:, -1] for n, v in scores.values.items()}, shared).items():
            if name in MEASURES:
                found[f"open.{name}.above_chance"] = gain.value
                found[f"open.{name}.above_chance.low"] = gain.low
    return found


def sentence(metrics: Mapping[str, float]) -> list[str]:
    """What was read, as a sentence; nothing where this reader was not used."""
    if "open.texts" not in metrics:
        return []
    rows = f"{metrics['open.texts']:.0f}"
    if "open.token_f1" not in metrics:
        cosine = f"cosine {metrics['open.cosine']:.2f}"
        return [f"Read as open text, the words of the first {rows} texts come to {cosine}."]
    low, high = metrics["open.token_f1.low"], metrics["open.token_f1.high"]
    gain = metrics.get("open.token_f1.above_chance")
    more = "" if gain is None else f", {gain:.2f} above chance"
    return [
        f"Read as open text, the words of the first {rows} texts are recovered with token F1"
        f" {metrics['open.token_f1']:.2f} ({low:.2f} to {high:.2f}{more}), in no order."
    ]
