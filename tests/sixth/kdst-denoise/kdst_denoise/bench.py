"""The bench of `denoise`: sines with noise, the mean squared error that a method leaves."""

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from kdst_batch.comparable import Column, Contender
from kdst_core import option
from kdst_core.bench.contract import Check, Job, Outcome, Prepared
from kdst_core.plugins.method import Method
from kdst_core.reports.blocks import Figure, ReportContent, Stat
from kdst_core.runs.codecs import JsonCodec
from kdst_core.runs.rundir import Run
from kdst_denoise.contract import DenoiseRequest


@frozen
class Inputs:
    """Options of the bench."""

    length: int = option(200, "Values of each signal.", min=8)
    signals: int = option(20, "How many signals.", min=2)
    noise: float = option(0.3, "Standard deviation of the noise.", above=0)


def signal(length: int, generator: random.Random) -> list[float]:
    """Return a sine (N) of a random frequency and phase."""
    turns, phase = generator.uniform(1, 4), generator.uniform(0, math.tau)
    return [math.sin(math.tau * turns * i / length + phase) for i in range(length)]


def error(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the mean squared error."""
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / len(a)


@frozen
class Denoising:
    """A run that is ready."""

    job: Job
    device: str = "cpu"

    def execute(self, run: Run) -> Outcome:
        """Denoise signal after signal."""
        inputs: Inputs = self.job.inputs
        errors: list[tuple[float, float]] = run.restore() or []
        for number in range(len(errors), inputs.signals):
            generator = random.Random(f"{run.seed} {number}")
            clean = signal(inputs.length, generator)
            noisy = [x + generator.gauss(0, inputs.noise) for x in clean]
            request = DenoiseRequest(tuple(noisy), inputs.noise)
            found = self.job.method.call(request, self.job.options, run)
            errors.append((error(noisy, clean), error(found, clean)))
            run.log("mse", errors[-1][1], number + 1)
            run.checkpoint(errors)
        before, after = (sum(e[i] for e in errors) / len(errors) for i in (0, 1))
        metrics = {"mse": after, "before.mse": before}
        each = {f"mse.{n}": e[1] for n, e in enumerate(errors)}
        summary = [f"mean squared error {after:.4f}, {before:.4f} before"]
        protocol = {"lengths": inputs.length}
        return Outcome({**metrics, **each}, {}, protocol, summary=summary)


class Bench:
    """The bench of `denoise`."""

    capability = "denoise"
    package = "kdst-denoise"
    inputs = Inputs
    live: frozenset[str] = frozenset()
    codec = JsonCodec()

    def prepare(self, job: Job) -> Prepared:
        """Return a run that is ready; there is nothing to load."""
        return Denoising(job)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Return the two errors."""
        metrics = result["metrics"]
        stats = [Stat(name, f"{metrics[name]:.4f}") for name in ("mse", "before.mse")]
        return ReportContent("sines with noise", stats, [])

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Return a digest of what the method makes of one signal."""
        clean = signal(64, random.Random(0))
        found = method.call(DenoiseRequest(tuple(clean), 0.1), options, run)
        return hashlib.sha256(repr(list(found)).encode()).hexdigest()

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the one check of the capability."""

        def kept() -> None:
            request = DenoiseRequest((0.0,) * 32, 0.1)
            found = method.call(request, method.description.options(), None)
            assert len(found) == 32, f"{len(found)} values come back for 32"

        yield Check("a signal keeps its length", kept)

    def seeded(self, inputs: Any) -> bool:
        """The seed makes the signals."""
        return True

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the error after and before."""
        return [
            Column("mse", "MSE", digits=4, better="lower"),
            Column("before.mse", "before", digits=4, better="lower"),
        ]

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return which option of the bench differs."""
        keys = ("length", "signals", "noise")
        names = [k for k in keys if ours["input"][k] != theirs["input"][k]]
        return f"{names[0]} differs" if names else ""

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the mean difference over signals and its standard error."""
        differences = [
            mine["metrics"][name] - yours["metrics"][name]
            for mine, yours in zip(ours.results, theirs.results, strict=True)
            for name in mine["metrics"]
            if name.startswith("mse.")
        ]
        mean = sum(differences) / len(differences)
        spread = sum((d - mean) ** 2 for d in differences) / (len(differences) - 1)
        return mean, math.sqrt(spread / len(differences))

    def comparison(
        self, contenders: Sequence[Contender]
    ) -> tuple[Sequence[Stat], Sequence[Figure]]:
        """Return nothing beside the table."""
        return [], []


bench = Bench()
