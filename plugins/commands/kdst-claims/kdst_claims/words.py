"""Effects, intervals and times as people read them, the same in terminal, page and docs."""

import math
from collections.abc import Mapping
from typing import Any


def number(value: float) -> str:
    """Return a figure with three digits that tell something, signed; none of an exponent if short."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:+.{digits}f}" if digits <= 6 else f"{value:+.2e}"


def effect(verdict: Mapping[str, Any]) -> str:
    """Return effect and interval of a verdict."""
    if verdict["effect"] is None:
        return "–"
    text = number(verdict["effect"])
    if verdict["low"] is None:
        return f"{text} (no interval)"
    return f"{text} ({number(verdict['low'])} to {number(verdict['high'])})"


def least(verdict: Mapping[str, Any]) -> str:
    """Return what an effect must exceed."""
    return f"> {number(verdict['least'])}"


def p(verdict: Mapping[str, Any]) -> str:
    """Return the corrected p."""
    value = verdict["p"]
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def over(verdict: Mapping[str, Any]) -> str:
    """Return what an error is taken over."""
    if verdict["effect"] is None:
        return "–"
    seeds = verdict["seeds"]
    if verdict["parts"] == 1 and "compare" in verdict["pairing"]:
        return f"{seeds} seed{'s' if seeds > 1 else ''}, paired by the bench"
    return str(verdict["pairing"])


def cost(seconds: float) -> str:
    """Return a time."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def said(verdict: Mapping[str, Any]) -> str:
    """Return what is to be said of a verdict besides: known to fail, known against it, no result."""
    parts = [
        f"Known to fail: {verdict['known_to_fail']}." if verdict["known_to_fail"] else "",
        f"Known against it: {verdict['known_against']}." if verdict["known_against"] else "",
        f"No result: {verdict['why']}" if verdict["why"] else "",
    ]
    return " ".join(part for part in parts if part)
