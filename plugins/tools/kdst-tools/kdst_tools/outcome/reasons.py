"""Why calls do not go into a text: the reasons on record, and how many calls have each."""

from collections import Counter
from collections.abc import Iterable, Mapping

from kdst_core.contracts import ToolCall

COPIES = "its input copies a number that stands only behind the call"
INSIDE = "it stands inside a number"
SAYS_NOTHING = "its result says no more than its input"
REPEATS = "the call next to it in the text is the same"
NEAR = "another call less than five tokens away gains more"
HERE = "another call here gains more"
MOST = "other calls in the text gain more"
GAIN = "gain below"
NO_ROOM = "does not fit the context"

KINDS = {
    "copies": COPIES,
    "says_nothing": SAYS_NOTHING,
    "inside": INSIDE,
    "repeats": REPEATS,
    "near": NEAR,
    "here": HERE,
    "most": MOST,
    "gain": GAIN,
    "no_room": NO_ROOM,
}
"""What a metric `reason.NAME` counts: the calls whose reason begins so."""


def count(calls: Iterable[ToolCall]) -> Counter[str]:
    """Return how many calls that were not kept have each reason; calls without one are under way."""
    return Counter(call.reason for call in calls if call.reason and not call.kept)


def metrics(found: Mapping[str, int]) -> dict[str, float]:
    """Return the counts of the known reasons, and of calls that failed for reasons of their tools."""
    said: dict[str, float] = dict.fromkeys([f"reason.{name}" for name in (*KINDS, "failed")], 0.0)
    for reason, number in found.items():
        name = next((n for n, begin in KINDS.items() if reason.startswith(begin)), "failed")
        said[f"reason.{name}"] += number
    return said


def line(found: Mapping[str, int], most: int = 4) -> str:
    """Return the most frequent reasons as a line for the terminal; empty where there are none."""
    ranked = Counter(found).most_common()
    parts = [f"{number:,} {reason}" for reason, number in ranked[:most]]
    rest = sum(number for _, number in ranked[most:])
    return (
        "not kept: " + "; ".join([*parts, *([f"{rest:,} others"] if rest else [])]) if parts else ""
    )
