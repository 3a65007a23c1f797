"""`kdst_core.run`: one run from Python, on the same path as the command `kdst run`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdst_core.bench.compression import refuse_broken_zlib
from kdst_core.bench.contract import Extends, Job, Outcome, Prepared
from kdst_core.bench.sealed import loading
from kdst_core.errors import KdstError, MethodError, did_you_mean
from kdst_core.files import write_atomically
from kdst_core.live import describe
from kdst_core.options import Given, build, plain
from kdst_core.plugins import process_state
from kdst_core.plugins.method import Method, failure
from kdst_core.plugins.survival import exits_refused
from kdst_core.progress import Mode
from kdst_core.reports import report
from kdst_core.reports.blocks import ReportContent
from kdst_core.runs.result import Result, content, finite, load_result, not_finite
from kdst_core.runs.rundir import REPORT, RESULT, Run, default_directory
from kdst_core.runs.setup import Setup, merge, setup_of


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
    setup = setup_of(method)
    flags = ["--" + name.replace("_", "-") for name in options]
    known = {item.flag for item in setup.items}
    for name, flag in zip(options, flags, strict=True):
        if flag not in known:
            names = [f[2:].replace("-", "_") for f in known]
            raise KdstError(f"{method} has no option {name!r}.{did_you_mean(name, names)}")
    live = setup.bench.live
    objects = {k: v for k, v in options.items() if k in live and not isinstance(v, str | Path)}
    given = {
        flag: Given(describe(value) if name in objects else value, name, Path.cwd())
        for (name, value), flag in zip(options.items(), flags, strict=True)
    }
    return execute(
        setup, given, objects, out=out, resume=resume, config=config, show=show, observe=observe
    )


def execute(
    setup: Setup,
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
    method, bench = setup.method, setup.bench
    refuse_broken_zlib(bench)
    method.attach(observe)
    merged = merge(setup, given, config)
    with loading():
        inputs, options, common = (build(section, merged) for section in setup.sections)
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
        growing=[(item.section.table, item.path) for item in setup.items if item.grows],
    )
    extended = False
    if resume and (directory / RESULT).exists():
        finished = load_result(directory)
        extended = _extends(active, setup, resolved, finished.data)
        if not extended:
            active.refuse_other_configuration(resolved)
            if not isinstance(bench, Extends):
                active.tidy()
            return finished
    continuing = active.open(resolved, resume=resume, extended=extended)
    try:
        active.listeners = method.listeners(active)
        outcome, data = _carry_out(active, prepared, setup, resolved)
    except KdstError:
        if not continuing:
            active.discard_without_progress()
        raise
    finally:
        active.close()
    return Result(directory, data, tuple(outcome.summary))


def _extends(
    active: Run, setup: Setup, resolved: Mapping[str, Any], result: Mapping[str, Any]
) -> bool:
    """Return whether a finished run is to go on with other options of the method.

    They are compared with the result's, so that a run whose extension was stopped goes on too.
    KdstError when anything else differs.
    """
    name = setup.method.name
    now = json.loads(json.dumps(finite(resolved[name])))
    before = result["options"]
    changed = {
        key: (before.get(key), now.get(key))
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    }
    if not changed or not isinstance(setup.bench, Extends):
        return False
    if not setup.bench.extends(result, changed):
        return False
    active.refuse_other_configuration({**resolved, name: before}, besides=name)
    return True


def _carry_out(
    active: Run, prepared: Prepared, setup: Setup, resolved: Mapping[str, Any]
) -> tuple[Outcome, dict[str, Any]]:
    """Run the bench, and write environment, report and result; errors of the disk become one line."""
    packages = ["kdst-core", setup.bench.package, setup.method.plugin.package]
    try:
        active.write_environment([*dict.fromkeys(packages), "torch", "numpy"])
        outcome = _executed(prepared, active, setup.method)
        data = content(setup, resolved, active, outcome)
        _write_report(data, active, setup, lost=bool(not_finite(outcome)))
        active.finish(data, extensible=isinstance(setup.bench, Extends))
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


def _write_report(data: Mapping[str, Any], active: Run, setup: Setup, *, lost: bool) -> None:
    """Write the report; one whose charts cannot show what was not finite never costs the result.

    lost: whether a figure was not finite. Where none was, a report that fails is a bug.
    """
    try:
        report.write(data, active.dir, setup.bench)
    except (KdstError, OSError):
        raise
    except Exception:
        if not lost:
            raise
        empty = ReportContent("Figures that are not finite cannot be drawn.", (), ())
        title = data["method"]
        page = report.page(data, empty, f"kdst run {title}", title)
        write_atomically(active.dir / REPORT, page)
