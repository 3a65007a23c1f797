"""The table of a run in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdst_adapt.outcome.alarms import ONLY_UPDATE
from kdst_adapt.streams.shift import Shift


def lines(
    found: Mapping[str, Any], shifts: Sequence[Shift], names: Sequence[str], *, same: bool = False
) -> list[str]:
    """Return a table of accuracies in percent for the terminal: a row a shift, a column a method.

    same: the method cannot differ from norm, which is said in place of an interval.
    """
    method = names[-1]
    prefix = {name: "" if name == method else f"baseline.{name}." for name in names}
    rows = [*(s.key for s in shifts), "mean"]
    width = max(len(r) for r in [*rows, "accuracy, %"])
    columns = {n: max(9, len(n) + 2) for n in names}
    out = ["accuracy, %".ljust(width) + "".join(n.rjust(columns[n]) for n in names)]

    def line(label: str, key: str, scale: float = 1, form: str = "{:.2f}") -> None:
        values = [found[prefix[n] + key] for n in names]
        cells = ["–" if v is None else form.format(scale * v) for v in values]
        shown = (c.rjust(columns[n]) for c, n in zip(cells, names, strict=True))
        out.append(label.ljust(width) + "".join(shown))

    for row in rows:
        line(row, f"accuracy.{row}", 100)
    line("ECE, %", "ece.mean", 100)
    line("NLL, nats", "nll.mean")
    line("cost", "cost_x_source", form="{:.1f}x")
    if same:
        out.append(ONLY_UPDATE.format(method))
    elif method != "norm":
        gap, low, high = (
            100 * found[f"difference.norm.accuracy.{k}"] for k in ("mean", "low", "high")
        )
        out.append(f"{method} - norm: {gap:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}")
    return out
