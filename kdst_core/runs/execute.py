"""`kdst_core.run`: one run from Python, on the same path as the command `kdst run`."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_core import __version__
from kdst_core.bench.contract import Bench, Extends, Job, Outcome, Prepared
from kdst_core.bench.sealed import loading
from kdst_core.errors import KdstError, MethodError, did_you_mean
from kdst_core.files import write_atomically
from kdst_core.live import describe
from kdst_core.options import (
    Given,
    Item,
    Section,
    build,
    from_environment,
    from_toml,
    items,
    option,
    plain,
)
from kdst_core.plugins import process_state, registry
from kdst_core.plugins.declared import check_options
from kdst_core.plugins.method import Method, failure, load
from kdst_core.plugins.survival import exits_refused
from kdst_core.progress import Mode
from kdst_core.reports import report
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.received import check_artifacts, parse_result
from kdst_core.runs.rundir import CONFIG, REPORT, RESULT, Run, default_directory

SCHEMA = 1


@frozen
class RunOptions:
    """Options that every run has."""

    seed: int = option(0, "Seed of all randomness; the same seed gives the same result.", min=0)
    device: str = option("auto", "Device: auto, cpu, cuda, cuda:1, mps.")


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


@frozen
class Command:
    """A method with its bench and the options they take together.

    called: the words after `kdst` that start it, `run METHOD` where it is empty.
    """

    method: Method
    bench: Bench
    sections: tuple[Section, Section, Section]
    called: tuple[str, ...] = ()

    @property
    def items(self) -> list[Item]:
        """All options, those of the input first."""
        return [item for section in self.sections for item in items(section)]


def command(name: str) -> Command:
    """Load a method and its bench; KdstError when one is missing, broken or does not fit."""
    method = load(name)
    bench: Bench = registry.load_bench(method.plugin.capability)
    sections = (
        Section("Input and protocol", "input", bench.inputs),
        Section(f"Options of {method.name}", method.name, method.description.options),
        Section("Run", "run", RunOptions),
    )
    check_options(sections)
    return Command(method, bench, sections)


def run(
    method: str,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    config: str | Path | None = None,
    show: Mode = "quiet",
    observe: Sequence[str] = (),
    **options: Any,
) -> Result:
    """Run a method and return its result.

    method: name as `kdst run` takes it. out: run directory, by default a new one under `runs/`.
    options: any option of `kdst info METHOD` by its name (`sgld_steps=10`, `data="npz:digits.npz"`);
    the bench's input options may also be live objects, such as a model. observe: observers that watch
    the run, such as `tensorboard`.

    Raises KdstError for bad input, with the message that the command prints.
    """
    chosen = command(method)
    flags = ["--" + name.replace("_", "-") for name in options]
    known = {item.flag for item in chosen.items}
    for name, flag in zip(options, flags, strict=True):
        if flag not in known:
            names = [f[2:].replace("-", "_") for f in known]
            raise KdstError(f"{method} has no option {name!r}.{did_you_mean(name, names)}")
    live = chosen.bench.live
    objects = {k: v for k, v in options.items() if k in live and not isinstance(v, str | Path)}
    given = {
        flag: Given(describe(value) if name in objects else value, name, Path.cwd())
        for (name, value), flag in zip(options.items(), flags, strict=True)
    }
    return execute(
        chosen,
        given,
        objects,
        out=out,
        resume=resume,
        config=config,
        show=show,
        observe=observe,
    )


def execute(
    chosen: Command,
    given: Mapping[str, Given],
    objects: Mapping[str, Any],
    *,
    out: str | Path | None,
    resume: bool,
    config: str | Path | None,
    show: Mode,
    observe: Sequence[str] = (),
) -> Result:
    """Resolve the options, prepare, run, and write report and result."""
    method, bench = chosen.method, chosen.bench
    method.attach(observe)
    merged = merge(chosen, given, config)
    with loading():
        inputs, options, common = (build(section, merged) for section in chosen.sections)
    directory = Path(out) if out is not None else default_directory(method.name)
    if resume and out is None:
        raise KdstError("--resume needs the directory to continue: --out RUN --resume")
    job = Job(method, options, inputs, common.seed, common.device, objects, show)
    prepared = bench.prepare(job)
    resolved = {
        "input": plain(inputs),
        method.name: plain(options),
        "run": {**plain(common), "device": prepared.device},
    }
    active = Run(
        directory,
        seed=common.seed,
        device=prepared.device,
        codec=bench.codec,
        show=show,
        growing=[(item.section.table, item.path) for item in chosen.items if item.grows],
    )
    extended = False
    if resume and (directory / RESULT).exists():
        finished = load_result(directory)
        extended = _extends(active, chosen, resolved, finished.data)
        if not extended:
            active.refuse_other_configuration(resolved)
            if not isinstance(bench, Extends):
                active.tidy()
            return finished
    continuing = active.open(resolved, resume=resume, extended=extended)
    try:
        active.listeners = method.listeners(active)
        outcome, data = _carry_out(active, prepared, chosen, resolved)
    except KdstError:
        if not continuing:
            active.discard_without_progress()
        raise
    finally:
        active.close()
    return Result(directory, data, tuple(outcome.summary))


def _extends(
    active: Run, chosen: Command, resolved: Mapping[str, Any], result: Mapping[str, Any]
) -> bool:
    """Return whether a finished run is to go on with other options of the method.

    They are compared with the result's, so that a run whose extension was stopped goes on too.
    KdstError when anything else differs.
    """
    name = chosen.method.name
    now = json.loads(json.dumps(finite(resolved[name])))
    before = result["options"]
    changed = {
        key: (before.get(key), now.get(key))
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    }
    if not changed or not isinstance(chosen.bench, Extends):
        return False
    if not chosen.bench.extends(result, changed):
        return False
    active.refuse_other_configuration({**resolved, name: before}, besides=name)
    return True


def merge(
    chosen: Command, given: Mapping[str, Given], config: str | Path | None
) -> dict[str, Given]:
    """Merge the sources: TOML, then environment, then what was given directly."""
    name = chosen.method.name
    others = [p.name for p in registry.discover() if p.name != name]
    toml = from_toml(Path(config), chosen.items, others) if config is not None else {}
    return {**toml, **from_environment(chosen.items, name, others), **given}


def _carry_out(
    active: Run, prepared: Prepared, chosen: Command, resolved: Mapping[str, Any]
) -> tuple[Outcome, dict[str, Any]]:
    """Run the bench, and write environment, report and result; errors of the disk become one line."""
    packages = ["kdst-core", chosen.bench.package, chosen.method.plugin.package]
    try:
        active.write_environment([*dict.fromkeys(packages), "torch", "numpy"])
        outcome = _executed(prepared, active, chosen.method)
        data = _result(chosen, resolved, active, outcome)
        _write_report(data, active, chosen, lost=bool(_lost(outcome)))
        active.finish(data, extensible=isinstance(chosen.bench, Extends))
        return outcome, data
    except OSError as e:
        raise KdstError(f"cannot write to {active.dir}: {e.strerror or e}") from e


def _executed(prepared: Prepared, active: Run, method: Method) -> Outcome:
    """Carry the method out; one that asks the process to end has failed, without an exit code of its own.

    MethodError where a function of kdst was replaced meanwhile.
    """
    process_state.import_measures(prepared)
    before = process_state.own_functions()
    try:
        with exits_refused():
            outcome = prepared.execute(active)
    except SystemExit as e:
        raise failure(method.plugin, e) from e
    if changed := process_state.replaced(before):
        raise MethodError(
            f"{method.plugin.qualified} replaced {changed[0]}, by which it is run and measured.\n"
            "Its figures would mean nothing. Report this to the author of the package"
        )
    return outcome


def _write_report(data: Mapping[str, Any], active: Run, chosen: Command, *, lost: bool) -> None:
    """Write the report; one whose charts cannot show what was not finite never costs the result.

    lost: whether a figure was not finite. Where none was, a report that fails is a bug.
    """
    try:
        report.write(data, active.dir, chosen.bench)
    except (KdstError, OSError):
        raise
    except Exception:
        if not lost:
            raise
        empty = ReportContent("Figures that are not finite cannot be drawn.", (), ())
        title = data["method"]
        page = report.page(data, empty, f"kdst run {title}", title)
        write_atomically(active.dir / REPORT, page)


def _result(
    chosen: Command, resolved: Mapping[str, Any], active: Run, outcome: Outcome
) -> dict[str, Any]:
    """Return the content of `result.json`."""
    method = chosen.method
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
        "warnings": [*outcome.warnings, *_not_finite(_lost(outcome))],
        "command": reproduce(chosen, resolved),
        **outcome.extra,
    }


def _lost(outcome: Outcome) -> list[str]:
    """Return the names of the figures that are not finite."""
    return [k for k, v in outcome.metrics.items() if v is not None and not math.isfinite(v)]


def _finite(value: float | None) -> float | None:
    """Return a figure as JSON can hold it: null where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _not_finite(names: Sequence[str]) -> list[str]:
    """Return the warning about figures that are not finite."""
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"Not finite, so null in the result: {', '.join(names[:3])}{more}."]


def finite(value: Any) -> Any:
    """Return options as JSON can hold them: infinite numbers as the text that options take, `inf`."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def reproduce(chosen: Command, resolved: Mapping[str, Any]) -> str:
    """Return the shell command that repeats a run: every option that is not the default."""
    words = ["kdst", *(chosen.called or ("run", chosen.method.name))]
    for item in (i for i in chosen.items if not i.where):
        value: Any = resolved[item.section.table]
        for part in item.path.split("."):
            value = value[part]
        default = str(item.default) if isinstance(item.default, Path) else item.default
        if value == default or (item.flag == "--device" and value == "cpu"):
            continue
        if isinstance(value, bool):
            words.append(item.flag if value else "--no-" + item.flag[2:])
        else:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            words += [item.flag, text]
    return shlex.join(words)


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
