"""The loop of a run: every batch through both baselines and the method, measured and resumable."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from attrs import define, field
from torch import Tensor

from kdst_adapt import data, measures, settings
from kdst_adapt.data import Shift
from kdst_adapt.probe import Probe
from kdst_core.bench.sealed import SealedArray, seal_array
from kdst_core.contracts import OnlinePredictor
from kdst_core.errors import KdstError
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run

READINGS = ("", "before_update.", "after_update.")
"""Prefixes of metrics: the logits that the method returns, and both readings of them."""
SHOWN = 16
"""Images kept of what a method shows."""


def _sealed(records: Sequence[Sequence[Tensor]]) -> list[list[SealedArray]]:
    """Seal records by shift and batch: with the logits they tell the labels."""
    return [[seal_array(r.numpy()) for r in batches] for batches in records]


@define
class Trace:
    """What is kept of one method: records of every batch, times, and what it showed."""

    _records: list[list[SealedArray]] = field(factory=list, converter=_sealed)
    seconds: list[float] = field(factory=list)
    updates: int = 0
    images: dict[str, Tensor] = field(factory=dict)
    scalars: dict[str, list[float]] = field(factory=dict)

    @property
    def records(self) -> list[list[Tensor]]:
        """A list a shift, in it a tensor (B, 3, 5) a batch: readings by columns of `measures`."""
        return [[torch.from_numpy(r.read()) for r in batches] for batches in self._records]

    def begin(self) -> None:
        """Go on to the next shift."""
        self._records.append([])

    def add(self, record: Tensor) -> None:
        """Add the record (B, 3, 5) of a batch."""
        self._records[-1].append(seal_array(record.numpy()))

    def last(self) -> Tensor:
        """Return the newest record (B, 3, 5)."""
        return torch.from_numpy(self._records[-1][-1].read())

    def shift(self, number: int, reading: int = 0) -> list[Tensor]:
        """Return the records (B, 5) of a shift's batches under one reading."""
        return [torch.from_numpy(r.read()[:, reading]) for r in self._records[number]]

    def pooled(self, reading: int = 0) -> list[Tensor]:
        """Return the records (N, 5) of every shift under one reading."""
        return [torch.cat(self.shift(k, reading)) for k in range(len(self._records))]

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values."""
        return {
            "records": self.records,
            "seconds": self.seconds,
            "updates": self.updates,
            "images": self.images,
            "scalars": self.scalars,
        }


@define
class Stream:
    """The protocol of one run over a list of shifts."""

    shifts: Sequence[Shift]
    batch_size: int
    order: str
    reset: str
    seed: int
    dirichlet: float | None = None
    imbalance: float | None = None

    def rows(self, shift: Shift) -> list[Any]:
        """Return the rows of each batch of a shift; the same seed gives the same for every shift."""
        rng = np.random.default_rng([self.seed, 1])
        order = "shuffled" if isinstance(shift, settings.Mixed) else self.order
        rows = data.ordered(len(shift.labels), order, self.seed)
        if self.imbalance is not None:
            rows = settings.imbalanced(shift.labels, rows, self.imbalance, rng)
        if self.dirichlet is not None:
            rows = settings.correlated(shift.labels, rows, self.dirichlet, rng)
        return data.cut(rows, self.batch_size)

    def begins(self, number: int) -> bool:
        """Return whether the method is reset before a shift: the way up to the way down is no new one."""
        if self.reset != "shift" or number == 0:
            return False
        before, now = self.shifts[number - 1], self.shifts[number]
        gradual = any(s.name.endswith("-down") for s in self.shifts)
        return not gradual or settings.kind(before) != settings.kind(now)

    @property
    def total(self) -> int:
        """Number of batches of all shifts."""
        return sum(len(self.rows(s)) for s in self.shifts)


def run_stream(
    stream: Stream,
    methods: Mapping[str, Method],
    predictors: Mapping[str, OnlinePredictor],
    run: Run,
    model: str = "",
    probe: Probe | None = None,
) -> dict[str, Trace]:
    """Feed every batch to every predictor and return what was measured, by name.

    The last of `methods` is the one the run is about. Continues from the run's checkpoint where there
    is one, and writes checkpoints so seldom that they cost at most a twentieth of the time. model: a
    digest of the classifier, by which a run refuses to continue with another one. probe: measures the
    networks at the end of every stream.
    """
    probe = probe or Probe()
    identity = f"{model} {' '.join(f'{s.key}:{len(s.labels)}' for s in stream.shifts)}"
    traces = {name: Trace() for name in predictors}
    done = _restore(run, identity, traces, predictors, probe)
    main = list(methods)[-1]
    clock = Clock()
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
                    _batch(methods[name], predictor, traces[name], x, shift, rows, run.device)
                _log(run, traces[main], step, shift=shift.key, batch=index, method=main)
                if index == len(batches) - 1:
                    probe.measure(number, predictors)
                advance(1)
                if clock.due():
                    clock.spend(
                        lambda at=step: run.checkpoint(
                            _state(at, identity, traces, predictors, probe)
                        )
                    )
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
) -> None:
    """Predict one batch, timed, and keep its records; diagnostics are outside the timed part.

    Labels are read when the method has returned and all that it gave is plain values, so that no frame
    of its code holds them.
    """
    with method.working():
        readings = _answered(predictor, trace, x, device)
    labels = torch.from_numpy(shift.labels[rows].astype(np.int64))
    trace.add(torch.stack([measures.record(r, labels) for r in readings], 1))


def _answered(predictor: OnlinePredictor, trace: Trace, x: Tensor, device: str) -> list[Tensor]:
    """Return the logits (B, C) and both readings of them as plain values; keep what is shown."""
    _synchronize(device)
    started = time.perf_counter()
    logits = predictor.predict(x)
    _synchronize(device)
    trace.seconds.append(time.perf_counter() - started)
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


class Clock:
    """Decides when a checkpoint is due: every two seconds, or twenty times what one costs."""

    def __init__(self) -> None:
        self.last, self.cost = time.perf_counter(), 0.0

    def due(self) -> bool:
        """Return whether it is time."""
        return time.perf_counter() - self.last > max(2.0, 20 * self.cost)

    def spend(self, write: Any) -> None:
        """Write a checkpoint and remember what it cost."""
        started = time.perf_counter()
        write()
        self.last = time.perf_counter()
        self.cost = self.last - started


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
    predictors: Mapping[str, OnlinePredictor],
    probe: Probe,
) -> int:
    """Take the state of the run's checkpoint and return how many batches it covers, 0 without one."""
    state = run.restore()
    if state is None:
        return 0
    if state["identity"] != identity:
        raise KdstError(
            f"{run.dir} was started with another model or other data.\n"
            "Resume with the same, or give --out another directory"
        )
    for name, predictor in predictors.items():
        traces[name] = Trace(**state["traces"][name])
        predictor.load_state_dict(state["predictors"][name])
    probe.found = dict(state["probe"])
    step: int = state["step"]
    return step
