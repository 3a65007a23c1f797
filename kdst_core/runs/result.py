"""The result of a run: what `result.json` holds, and a finished run read from its directory."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core import __version__
from kdst_core.bench.contract import Outcome
from kdst_core.errors import KdstError
from kdst_core.runs.received import check_artifacts, misfit, parse_result
from kdst_core.runs.rundir import CONFIG, RESULT, Run
from kdst_core.runs.setup import Setup, reproduce

SCHEMA = 1


@frozen
class Result:
    """A finished run: its directory and the content of its `result.json`."""

    directory: Path
    data: Mapping[str, Any]
    summary: tuple[str, ...] = ()

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Flat metrics, name to number, None where it cannot be told; rates are fractions."""
        metrics: Mapping[str, float | None] = self.data["metrics"]
        return metrics

    @property
    def warnings(self) -> list[str]:
        """What a reader of the figures must know."""
        return list(self.data["warnings"])

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.directory / "report.html"

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the run: main figures and first pictures, or why it cannot."""
        from html import escape

        from kdst_core.reports.notebook import fragment

        try:
            return fragment(self.data, self.directory)
        except Exception as e:
            reason = e if isinstance(e, KdstError) else misfit(str(self.directory), e)
            return f"<p>{escape(str(reason))}</p>"


def finite(value: Any) -> Any:
    """Return options as JSON can hold them: infinite numbers as the text that options take, `inf`."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _finite(value: float | None) -> float | None:
    """Return a figure as JSON can hold it: null where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _warning(names: Sequence[str]) -> list[str]:
    """Return the warning about figures that are not finite."""
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"Not finite, so null in the result: {', '.join(names[:3])}{more}."]


def not_finite(outcome: Outcome) -> list[str]:
    """Return the names of the figures that are not finite."""
    return [k for k, v in outcome.metrics.items() if v is not None and not math.isfinite(v)]


def content(
    setup: Setup, resolved: Mapping[str, Any], active: Run, outcome: Outcome
) -> dict[str, Any]:
    """Return the content of `result.json`."""
    method = setup.method
    metrics = {k: _finite(v) for k, v in sorted(outcome.metrics.items())}
    return {
        "schema": SCHEMA,
        "method": method.name,
        "capability": method.plugin.capability,
        "plugin": method.plugin.package,
        "plugin_version": method.plugin.version,
        "core_version": __version__,
        "seed": active.seed,
        "device": active.device,
        "options": finite(resolved[method.name]),
        "input": finite({**resolved["input"], **outcome.input}),
        "seconds": round(active.seconds, 3),
        "metrics": metrics,
        "artifacts": dict(outcome.artifacts),
        "warnings": [*outcome.warnings, *_warning(not_finite(outcome))],
        "command": reproduce(setup, resolved),
        **outcome.extra,
    }


def load_result(directory: Path) -> Result:
    """Return a finished run from its directory; KdstError when there is none, or what it holds is no
    result or an artifact is no regular file of the run."""
    path = directory / RESULT
    if not path.exists():
        state = "an unfinished run" if (directory / CONFIG).is_file() else "no run"
        raise KdstError(f"{directory} holds {state}: {RESULT} is missing")
    data = parse_result(path, SCHEMA)
    check_artifacts(directory, data["artifacts"])
    return Result(directory, data)
