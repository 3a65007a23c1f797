"""The paper's parameters, with a value for each tool where it has one of its own."""

from collections.abc import Sequence
from typing import Any, Literal

from attrs import evolve, frozen

from kdst_core.errors import KdstError, did_you_mean

Placement = Literal["prefix", "inline"]
Trigger = Literal["top-k", "probability"]

SECOND = ("Calculator", "MT")
"""The tools that the paper samples more of and keeps more of: τ_s = 0, k = 20, m = 10, τ_f = 0.5."""


@frozen
class ToolSettings:
    """One tool's thresholds and numbers (Toolformer, section 2 and appendix A)."""

    tau_s: float = 0.05
    k: int = 5
    m: int = 5
    tau_f: float = 1.0
    cap: int = 25_000


def per_tool(options: Any, names: Sequence[str], warm: bool) -> dict[str, ToolSettings]:
    """Return the settings of each tool; KdstError for an override that names no tool.

    An option is a list of VALUE, for all tools, and NAME=VALUE. Tools that the paper treats otherwise
    start from its values for them, unless the model is small and warmed up.
    """
    found = {
        name: ToolSettings(tau_s=0.0, k=20, m=10, tau_f=0.5)
        if name in SECOND and not warm
        else ToolSettings()
        for name in names
    }
    for field in ("tau_s", "k", "m", "tau_f", "cap"):
        general = [item for item in getattr(options, field) if "=" not in item]
        special = [item for item in getattr(options, field) if "=" in item]
        for item in (*general, *special):
            name, _, text = item.rpartition("=")
            if name and name not in found:
                hint = did_you_mean(name, found) or f" Tools: {', '.join(names)}"
                raise KdstError(f"--{field.replace('_', '-')} {item}: no tool {name!r}.{hint}")
            for tool in [name] if name else names:
                value: Any = _number(field, item, text)
                found[tool] = evolve(found[tool], **{field: value})
    return found


def _number(field: str, item: str, text: str) -> float | int:
    """Read the value of an override."""
    whole = field in ("k", "m", "cap")
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise KdstError(f"--{field.replace('_', '-')} {item}: {text!r} is not {kind}") from None
    if value != value or (whole and value < 1) or (field == "tau_s" and not 0 <= value < 1):
        allowed = "at least 1" if whole else "at least 0 and below 1"
        raise KdstError(f"--{field.replace('_', '-')} {item}: {text} must be {allowed}")
    return value
