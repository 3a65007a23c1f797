"""The loop of a run: every batch through both baselines and the method, measured and resumable."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from kdst_adapt import measures, memory
from kdst_adapt.allocator import kept_memory
from kdst_adapt.audit.batches import check_batch_size, single_values, uses_batch
from kdst_adapt.baselines import records
from kdst_adapt.baselines.records import BASELINES
from kdst_adapt.measures import Trace
from kdst_adapt.models import clip
from kdst_adapt.models.digest import model_digest
from kdst_adapt.streams.data import judging_files
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_adapt.streams.window import Windowed
from kdst_adapt.studies.probe import Probe
from kdst_adapt.surroundings import own_surroundings
from kdst_core.bench.pacing import Pace
from kdst_core.bench.sealed import hidden
from kdst_core.contracts import AdaptRequest, OnlinePredictor
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method, load_baseline
from kdst_core.runs.rundir import EVENTS, Run

if TYPE_CHECKING:
    from kdst_adapt.load import Target

SECONDS = 2.0
"""Between two checkpoints at least."""
SHOWN = 16
"""Images kept of what a method shows."""


@frozen
class Measured:
    """What a run measured: a trace a method, the run's own last.

    batch_statistics: whether that one's BatchNorm normalises by the statistics of batches.
    """

    traces: dict[str, Trace]
    batch_statistics: bool


@contextmanager
def surroundings(target: "Target", run: Run) -> Iterator[None]:
    """Give the body gradients and threads as a run has them, and hide what tells the labels."""
    told = [run.dir / EVENTS, *run.checkpoints.files]
    files = judging_files(target.job.inputs, live=target.live)
    shared = target.job.inputs.shared_baselines
    files += [shared] if shared is not None and shared.is_dir() else []
    with own_surroundings(target.threads, target.job.seed), hidden([*files, *told]):
        yield


def carry_out(target: "Target", run: Run) -> Measured:
    """Run the stream of a target through the baselines and the method.

    Baselines whose records another run has kept are not run again.
    """
    name = target.job.method.name
    place = records.place(target)
    known = {b: trace for b, trace in records.load(place).items() if b != name}
    needed = [b for b in BASELINES if b not in (name, *known)]
    methods = {b: load_baseline(f"kdst-adapt/{b}") for b in needed}
    methods[name] = target.job.method
    predictors = {key: _predictor(target, m, run) for key, m in methods.items()}
    target.probe.check(predictors)
    check_batch_size(predictors[name], target.stream, target.single, target.job.inputs.window)
    if getattr(predictors[name], "by_image", False):
        single_values(target.model, target.example, target.device)
    digest = model_digest(target.model)
    with kept_memory() as kept:
        traces = run_stream(
            target.stream, methods, predictors, run, digest, target.probe, known, kept.bound
        )
    records.save(place, traces)
    return Measured(traces, uses_batch(predictors[name]))


def _predictor(target: "Target", method: Method, run: Run) -> Any:
    """Call a method's hook, with a generator of its own."""
    job, shape = target.job, target.stream.shifts[0].input_shape
    generator = torch.Generator().manual_seed(job.seed)
    request = AdaptRequest(
        *(target.model, target.num_classes, shape, generator, target.source, target.example),
        **clip.parts(target.model),
    )
    options = job.options
    if method.name != job.method.name:
        options = method.description.options(layout=getattr(options, "layout", "auto"))
    predictor = method.call(request, options, run)
    if job.inputs.window is None or getattr(predictor, "by_image", False):
        return predictor
    return Windowed(predictor, job.inputs.window)


def run_stream(
    stream: Stream,
    methods: Mapping[str, Method],
    predictors: Mapping[str, OnlinePredictor],
    run: Run,
    model: str = "",
    probe: Probe | None = None,
    known: Mapping[str, Trace] | None = None,
    ended: Callable[[], None] | None = None,
) -> dict[str, Trace]:
    """Feed every batch to every predictor and return what was measured, by name.

    The last of `methods` is the one the run is about. Continues from the run's checkpoint where there
    is one, and writes checkpoints so seldom that they cost at most a twentieth of the time. model: a
    digest of the classifier, by which a run refuses to continue with another one. probe: measures the
    networks at the end of every stream. known: whole traces of methods that are not run. ended: is
    called after each batch.
    """
    probe, known, predictors = probe or Probe(), known or {}, dict(predictors)
    identity = f"{model} {' '.join(f'{s.key}{s.digest}:{len(s.labels)}' for s in stream.shifts)}"
    traces = {**known, **{name: Trace() for name in methods}}
    done = _restore(run, identity, traces, predictors, probe)
    main = list(methods)[-1]
    pace = Pace(SECONDS)
    step = 0
    with run.progress(stream.total, main) as advance:
        advance(done)
        for number, shift in enumerate(stream.shifts):
            batches = stream.rows(shift)
            for index, rows in enumerate(batches):
                step += 1
                if step <= done:
                    continue
                if index == 0:
                    _begin_shift(traces, methods, predictors, reset=stream.begins(number))
                x = shift.pictures(rows)
                for name, predictor in predictors.items():
                    trace = traces[name]
                    before = trace.memory
                    logits = _batch(methods[name], predictor, trace, x, shift, rows, run.device)
                    if before and name != main:
                        trace.memory = before  # later the process holds what the method left
                with methods[main].working():
                    probe.see(number, predictors[main], x, logits)
                _log(run, traces[main], step, shift=shift.key, batch=index, method=main)
                if index == len(batches) - 1:
                    probe.measure(number, predictors)
                advance(1)
                if ended is not None:
                    ended()
                if pace.due():
                    state = (step, identity, traces, predictors, probe)
                    pace.write(partial(_save, run, *state))
    return traces


def _begin_shift(
    traces: Mapping[str, Trace],
    methods: Mapping[str, Method],
    predictors: Mapping[str, OnlinePredictor],
    *,
    reset: bool,
) -> None:
    """Open a new list of records, and reset the methods where the protocol says so."""
    for name, predictor in predictors.items():
        traces[name].begin()
        if reset:
            with methods[name].working():
                predictor.reset()


def _log(run: Run, trace: Trace, step: int, **context: Any) -> None:
    """Log the accuracy of the newest batch; no frame of a later call holds it."""
    run.log("accuracy", measures.accuracy(trace.last()[:, 0]), step, **context)


def _batch(
    method: Method,
    predictor: OnlinePredictor,
    trace: Trace,
    x: Tensor,
    shift: Shift,
    rows: Any,
    device: str,
) -> Tensor:
    """Predict one batch, timed, and keep its records; diagnostics are outside the timed part.

    Returns the logits (B, C) as plain values.

    Labels are read when the method has returned and all that it gave is plain values, so that no frame
    of its code holds them.
    """
    with method.working():
        readings = _answered(predictor, trace, x, device)
    _check_shapes(method, readings, len(x))
    labels = torch.from_numpy(shift.labels[rows].astype(np.int64))
    trace.add(torch.stack([measures.record(r, labels) for r in readings], 1))
    return readings[0]


def _check_shapes(method: Method, readings: Sequence[Tensor], count: int) -> None:
    """Raise KdstError where a method gave no logits (B, C) for a batch of so many images."""
    for logits in readings:
        if logits.dim() != 2 or len(logits) != count:
            raise KdstError(
                f"{method.name} gave an array of {tuple(logits.shape)} for a batch of {count} images, not"
                f" logits ({count}, classes)"
            )


def _answered(predictor: OnlinePredictor, trace: Trace, x: Tensor, device: str) -> list[Tensor]:
    """Return the logits (B, C) and both readings of them as plain values; keep what is shown."""
    memory.begin(device)
    _synchronize(device)
    started = time.perf_counter()
    logits = predictor.predict(x)
    _synchronize(device)
    trace.seconds.append(time.perf_counter() - started)
    trace.memory = max(trace.memory, memory.peak(device))
    shown = predictor.diagnostics
    trace.updates += int(shown.updates)
    for name, value in shown.scalars.items():
        trace.scalars.setdefault(str(name), []).append(float(value))
    for name, images in shown.images.items():
        small = _plain(images[:SHOWN], torch.float32)
        trace.images.setdefault(f"{name}, first batch", small)
        trace.images[f"{name}, last batch"] = small
    return [_plain(r) for r in (logits, shown.before_update, shown.after_update)]


def _plain(given: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return values of their own: no code of the method runs where they meet labels."""
    return torch.from_numpy(np.array(given.detach().to("cpu", dtype).numpy()))


def _synchronize(device: str) -> None:
    """Wait for the GPU, so that times are those of the work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _save(run: Run, *state: Any) -> None:
    """Write a checkpoint; state: the arguments of `_state`."""
    run.checkpoint(_state(*state))


def _state(
    step: int,
    identity: str,
    traces: Mapping[str, Trace],
    predictors: Mapping[str, OnlinePredictor],
    probe: Probe,
) -> dict[str, Any]:
    """Return the state after `step` batches."""
    return {
        "step": step,
        "identity": identity,
        "traces": {name: trace.state_dict() for name, trace in traces.items()},
        "predictors": {name: p.state_dict() for name, p in predictors.items()},
        "probe": probe.found,
    }


def _restore(
    run: Run,
    identity: str,
    traces: dict[str, Trace],
    predictors: dict[str, OnlinePredictor],
    probe: Probe,
) -> int:
    """Take the state of the run's checkpoint and return how many batches it covers, 0 without one.

    Predictors that the run was started without, as their traces were known, are dropped.
    """
    state = run.restore()
    if state is None:
        return 0
    if state["identity"] != identity:
        raise KdstError(
            f"{run.dir} was started with another model or other data.\n"
            "Resume with the same, or give --out another directory"
        )
    for name in [n for n in predictors if n not in state["predictors"]]:
        traces[name] = Trace(**state["traces"][name])
        del predictors[name]
    for name, predictor in predictors.items():
        traces[name] = Trace(**state["traces"][name])
        predictor.load_state_dict(state["predictors"][name])
    probe.found = dict(state["probe"])
    step: int = state["step"]
    return step
