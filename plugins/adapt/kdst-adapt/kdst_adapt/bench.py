"""The bench of `adapt`: prepares a run, carries it out, and reports on it."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from kdst_adapt.inputs import AdaptInputs
from kdst_core.bench.compare import Column, Contender
from kdst_core.bench.contract import Check, Job, Outcome
from kdst_core.bench.device import has_cuda, usable
from kdst_core.bench.library import Library
from kdst_core.errors import KdstError
from kdst_core.files import write_atomically
from kdst_core.plugins.method import Method, load_baseline
from kdst_core.reports.blocks import Figure, ReportContent, Stat
from kdst_core.runs.codecs import TorchCodec
from kdst_core.runs.rundir import Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kdst_adapt.audit import Finding
    from kdst_adapt.data import Shift
    from kdst_adapt.probe import Probe
    from kdst_adapt.protocol import Stream, Trace
    from kdst_adapt.source_data import Batches

BASELINES = ("source", "norm")


@frozen
class PreparedAdapt:
    """A run with its data and model loaded and checked."""

    job: Job
    device: str
    model: "nn.Module"
    num_classes: int
    stream: "Stream"
    source: "Sequence[tuple[Tensor, Tensor]] | None"
    probe: "Probe"
    findings: "list[Finding]"
    example: "Tensor"
    single: Sequence[str]
    live: bool = False

    def execute(self, run: Run) -> Outcome:
        """Run the stream through the baselines and the method, and write curves and pictures."""
        from kdst_adapt.data import judging_files
        from kdst_adapt.surroundings import own_surroundings
        from kdst_core.bench.sealed import hidden
        from kdst_core.runs.rundir import EVENTS

        told = [run.dir / EVENTS, *run.checkpoints.files]
        files = judging_files(self.job.inputs, live=self.live)
        surroundings = own_surroundings(threads_of(self.job.inputs), self.job.seed)
        with surroundings, hidden([*files, *told]):
            return self._execute(run)

    def _execute(self, run: Run) -> Outcome:
        """Do the work of `execute`, with gradients and threads as a run has them."""
        from kdst_adapt import alarms, audit, corrupted, study, summarize
        from kdst_adapt.memory import kept_memory
        from kdst_adapt.protocol import run_stream

        name = self.job.method.name
        methods = {b: load_baseline(f"kdst-adapt/{b}") for b in BASELINES if b != name}
        methods[name] = self.job.method
        predictors = {key: self._predictor(m, run) for key, m in methods.items()}
        self.probe.check(predictors)
        check_batch_size(predictors[name], self.stream, self.single, self.job.inputs.window)
        if getattr(predictors[name], "by_image", False):
            single_values(self.model, self.example, self.device)
        shifts, chosen = self.stream.shifts, self.job.inputs.study
        digest = model_digest(self.model)
        with kept_memory():
            traces = run_stream(self.stream, methods, predictors, run, digest, self.probe)
        metrics = summarize.metrics(traces, shifts, name)
        metrics |= study.metrics(chosen, traces, name, shifts, self.probe.found)
        names = [*(b for b in BASELINES if b != name), name]
        same = summarize.equals_norm(traces, name)
        return Outcome(
            metrics=metrics,
            artifacts=self._artifacts(run, traces, names),
            input=self._protocol(),
            warnings=[
                *audit.warnings(self.findings),
                *([alarms.ONLY_UPDATE.format(name)] if same else []),
                *alarms.warnings(
                    traces[name],
                    shifts,
                    name,
                    updates="gradients" in self.job.method.description.needs,
                    batch_norm=uses_batch(predictors[name]),
                    largest=largest_batch(self.stream, self.job.inputs.window),
                ),
                *([] if self._told_chance() else alarms.chance(traces, self.num_classes)),
            ],
            summary=[
                *summarize.lines(metrics, shifts, names, same=same),
                *study.lines(chosen, {k: v for k, v in metrics.items() if v is not None}, shifts),
                *filter(None, [corrupted.KEPT.line()]),
            ],
            extra={"audit": audit.plain(self.findings)},
        )

    def _told_chance(self) -> bool:
        """Return whether the audit has warned of source's accuracy already."""
        return any(f.what == "source" and f.state == "warning" for f in self.findings)

    def _predictor(self, method: Method, run: Run) -> Any:
        """Call a method's hook, with a generator of its own."""
        import torch

        from kdst_adapt.settings import Windowed
        from kdst_core.contracts import AdaptRequest

        generator = torch.Generator().manual_seed(self.job.seed)
        shape = self.stream.shifts[0].input_shape
        request = AdaptRequest(
            self.model, self.num_classes, shape, generator, self.source, self.example
        )
        options = self.job.options
        if method.name != self.job.method.name:
            options = method.description.options(layout=getattr(options, "layout", "auto"))
        predictor = method.call(request, options, run)
        window = self.job.inputs.window
        if window is None or getattr(predictor, "by_image", False):
            return predictor
        return Windowed(predictor, window)

    def _protocol(self) -> dict[str, Any]:
        """Return everything that decides what was measured."""
        import torch

        first = self.stream.shifts[0]
        return {
            "batch_size": self.stream.batch_size,
            "order": self.stream.order,
            "shifts": [s.key for s in self.stream.shifts],
            "severity": severities_of(self.stream.shifts, self.job.inputs),
            "images_per_shift": [sum(map(len, self.stream.rows(s))) for s in self.stream.shifts],
            "image_shape": list(first.input_shape),
            "num_classes": self.num_classes,
            "threads": torch.get_num_threads(),
            "model_digest": model_digest(self.model),
        }

    def _artifacts(
        self, run: Run, traces: "Mapping[str, Trace]", names: list[str]
    ) -> dict[str, str]:
        """Write curves and pictures; return their names and paths."""
        from kdst_adapt import comparison, generation, pictures, summarize

        name = self.job.method.name
        curves = summarize.curves(traces, self.stream.shifts, names)
        files: dict[str, str | bytes] = {
            "curves.json": json.dumps(curves),
            "inputs.png": pictures.inputs(self.stream.shifts),
            "correct.npz": comparison.pack(traces[name], self.stream),
        }
        shown = pictures.rows(traces[name].images)
        if shown is not None:
            files["samples.png"] = shown
            files["samples.json"] = json.dumps(list(traces[name].images))
        if self.job.inputs.study == "generation":
            last = self.stream.shifts[-1].key
            files["generation.png"] = generation.grid(self.probe.found, last)
        for file, content in files.items():
            write_atomically(run.artifacts / file, content)
        return {file: f"artifacts/{file}" for file in files}


class AdaptBench:
    """The bench that the entry point `adapt` of the group `kdst.benches` names."""

    capability = "adapt"
    package = "kdst-adapt"
    inputs = AdaptInputs
    live = frozenset({"data", "model", "source"})
    codec = TorchCodec()
    headline = (Column("accuracy.mean", "accuracy, %", 100.0),)
    """What a list of runs says of one."""

    def prepare(self, job: Job) -> PreparedAdapt:
        """Load and check device, data, model and source data."""
        from kdst_adapt.surroundings import own_surroundings

        with own_surroundings(threads_of(job.inputs), job.seed):
            return self._prepare(job)

    def _prepare(self, job: Job) -> PreparedAdapt:
        """Do the work of `prepare`, with gradients and threads as a run has them."""
        os.environ.setdefault(
            "OMP_WAIT_POLICY", "PASSIVE"
        )  # spinning threads thrash a busy machine
        import numpy as np

        from kdst_adapt import audit, audit_model, audit_source, data, models, settings, study
        from kdst_adapt import classes as labelling
        from kdst_adapt.kit import keep_statistics_of_training
        from kdst_adapt.protocol import Stream

        inputs: AdaptInputs = job.inputs
        device = usable(job.device if job.device != "auto" else "cuda" if has_cuda() else "cpu")
        shifts = data.load(inputs, job.seed, job.objects.get("data"))
        if inputs.model == "embedded" and inputs.data != "digits":
            raise KdstError(
                "the embedded model knows only the embedded digits.\n"
                "Give --model resnet20|32|44|56 with --weights FILE, or --model module.path:factory"
            )
        model = models.load(inputs, job.objects.get("model"))
        count = data.cut(np.arange(len(shifts[0].labels)), 2)[0]
        example = shifts[0].pictures(count)
        check_channels(inputs, example.shape[1])
        model, several = models.with_logits_only(model, example, device)
        classes = models.num_classes(model, example, device)
        mended = audit_model.mend_forward(model, example)
        shifts, named, doubt = labelling.assign(shifts, classes, model, inputs.classes)
        files = [*audit.of_pixels(shifts), *audit.of_files(shifts, named, doubt)]
        shifts = settings.arrange(shifts, inputs.setting)
        study.check(inputs.study, shifts, job.method.name)
        study.check_images(inputs)
        for shift in shifts:
            check_labels(shift.labels, classes, shift.key)
        size = inputs.batch_size or (50 if inputs.data == "digits" else 200)
        stream = Stream(
            shifts,
            size,
            data.order(inputs, live="data" in job.objects),
            inputs.reset,
            job.seed,
            inputs.dirichlet,
            inputs.imbalance,
        )
        single = single_values(model, example, device) if has_single(stream) else []
        check_method(job, model)
        probe = study.probe(inputs, stream, classes)
        findings = [
            *audit.of_stream(stream, classes),
            *audit.of_window(inputs.window, size),
            *files,
            *audit_model.examine(
                model,
                example,
                device,
                job.options,
                gradients="gradients" in job.method.description.needs,
            ),
            *audit_source.of_source(model, device, shifts),
        ]
        findings += mended
        findings += [audit_model.of_outputs()] if several else []
        if single:
            keep_statistics_of_training(model, single)
            findings.append(audit_model.of_single(single))
        source = self._source(job, size, model, classes, shifts[0].input_shape)
        if source is not None:
            findings += audit.of_pixels([source.shift], "source data")
        return PreparedAdapt(
            *(_without_data(job), device, model, classes, stream, source, probe, findings),
            *(example[:2], single, "data" in job.objects),
        )

    def _source(
        self, job: Job, size: int, model: "nn.Module", classes: int, shape: tuple[int, int, int]
    ) -> "Batches | None":
        """Return source batches, or None; KdstError when the method needs them and has none."""
        from kdst_adapt import source_data
        from kdst_adapt.digits import data as digits

        inputs: AdaptInputs = job.inputs
        live = job.objects.get("source")
        if live is None and not inputs.source:
            if "source" not in job.method.description.needs:
                return None
            if inputs.data != "digits" or "data" in job.objects:
                raise needs_source(job.method.name)
            live = digits.load(train=True)
        shift = source_data.load(inputs, live, job.seed, model, classes, shape)
        check_labels(shift.labels, classes, "--source")
        return source_data.Batches(
            shift, size, job.seed, shuffled=source_data.in_folders(inputs, live)
        )

    def library(self) -> Library:
        """Return the function behind `kdst_core.load(METHOD)(…)`."""
        from kdst_adapt.library import adapted

        return Library(adapted)

    def report(self, result: Mapping[str, Any], directory: Path) -> ReportContent:
        """Build the report of a run."""
        from kdst_adapt.report import content

        return content(result, directory)

    def refuse(self, method: Method, inputs: AdaptInputs) -> None:
        """Raise KdstError, before anything is loaded, for inputs that a method cannot run on."""
        from kdst_adapt import study

        study.check_method(inputs.study, method.name)
        study.check_images(inputs)
        if "source" in method.description.needs and not inputs.source and inputs.data != "digits":
            raise needs_source(method.name)

    def seeded(self, inputs: AdaptInputs) -> bool:
        """Return whether the seed changes the stream: corruptions on the fly, shuffling, sampling."""
        from kdst_adapt.comparison import seeded

        return seeded(inputs)

    def columns(self, result: Mapping[str, Any]) -> Sequence[Column]:
        """Return the columns of a comparison: mean accuracy first."""
        from kdst_adapt.comparison import columns

        return columns(result)

    def mismatch(self, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
        """Return how the protocols of two results differ, '' where they can be compared."""
        from kdst_adapt.comparison import mismatch

        return mismatch(ours, theirs)

    def paired(self, ours: Contender, theirs: Contender) -> tuple[float, float]:
        """Return the difference of mean accuracy on the same images, and its standard error."""
        from kdst_adapt.comparison import paired

        return paired(ours, theirs)

    def comparison(
        self, contenders: Sequence[Contender]
    ) -> tuple[Sequence[Stat], Sequence[Figure]]:
        """Return headline numbers and figures of a comparison's report."""
        from kdst_adapt.compare_figures import figures, stats

        return stats(contenders), figures(contenders)

    def smoke(self, method: Method, options: Any, run: Run) -> str:
        """Adapt a small random network to three random batches; return a digest of the logits."""
        from kdst_adapt.checks import small_batches, small_request
        from kdst_adapt.digits.data import table
        from kdst_core.bench.sealed import hidden

        digest = hashlib.sha256()
        with hidden(filter(None, [table()])):
            predictor = method.call(small_request(seed=run.seed), options, run)
            for x in small_batches(3):
                with method.working():
                    logits = predictor.predict(x)
                digest.update(logits.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def checks(self, method: Method) -> Iterator[Check]:
        """Yield the checks of an adaptation method."""
        from kdst_adapt.checks import adapt_checks

        return adapt_checks(method)


def _without_data(job: Job) -> Job:
    """Return a job that no longer holds labelled data from Python, which the streams hold."""
    return evolve(job, objects={k: v for k, v in job.objects.items() if k != "data"})


def needs_source(method: str) -> KdstError:
    """Return the error of a method that learns from source data where there are none."""
    return KdstError(f"{method} needs source data: --source npz:FILE or folder:DIR")


def severities_of(shifts: "Sequence[Shift]", inputs: AdaptInputs) -> str:
    """Return the severities that are run, as the option says them where it does; '' without any."""
    from kdst_adapt.data import parse_severities

    parts = [p for s in shifts for p in getattr(s, "parts", (s,))]
    found = sorted({p.severity for p in parts if p.severity})
    given = sorted(parse_severities(inputs.severity))
    return inputs.severity if found == given else ",".join(map(str, found))


def threads_of(inputs: AdaptInputs) -> int | None:
    """Return the number of CPU threads that the options say, None for torch's own."""
    return inputs.threads or (1 if inputs.model == "embedded" else None)


def model_digest(model: "nn.Module") -> str:
    """Return a digest of a model's parameters and buffers, by which a run names its model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(value: Any) -> bytes:
    """Return the bytes of a tensor; of what quantised layers keep in its place, tuples of tensors."""
    from torch import Tensor

    if isinstance(value, Tensor):
        plain = value.detach().cpu()
        plain = plain.dequantize() if plain.is_quantized else plain
        return plain.contiguous().float().numpy().tobytes()
    if isinstance(value, tuple | list):
        return b"".join(map(_bytes, value))
    return repr(value).encode()


def check_labels(labels: Any, classes: int, where: str) -> None:
    """Raise KdstError when a label has no logit."""
    top = int(labels.max())
    if top >= classes:
        raise KdstError(
            f"the data has label {top} ({where}), the model has {classes} classes (labels 0 to"
            f" {classes - 1}).\nCheck that weights and data belong together"
        )


def has_single(stream: "Stream") -> bool:
    """Return whether a batch of the stream holds one image."""
    return any(len(stream.rows(s)[0]) == 1 for s in stream.shifts)


def largest_batch(stream: "Stream", window: int | None) -> int:
    """Return how many images a method is given at once, at most."""
    longest = max(sum(map(len, stream.rows(s))) for s in stream.shifts)
    return min(max(stream.batch_size, window or 0), longest)


def check_channels(inputs: AdaptInputs, channels: int) -> None:
    """Raise KdstError for --mean and --std of another number of channels than the images have."""
    if len(inputs.mean) not in (0, 1, channels):
        raise KdstError(
            f"--mean and --std have {len(inputs.mean)} numbers, the images {channels} channels.\n"
            "Give one number a channel, or one for all"
        )


def single_values(model: "nn.Module", example: "Tensor", device: str) -> list[str]:
    """Return the names of BatchNorm layers with one value a channel for one image, so no statistics.

    KdstError where such a layer has none of training either.
    """
    from kdst_adapt.kit import BATCH_NORMS, adaptable_copy
    from kdst_adapt.wiring import inputs_of, sample

    clone = adaptable_copy(model, device, batch_statistics=False)
    norms = {n: m for n, m in clone.named_modules() if isinstance(m, BATCH_NORMS)}
    dtype = next((p.dtype for p in clone.parameters()), example.dtype)
    images = sample(example, tuple(example.shape[1:])).to(device, dtype)
    shapes = inputs_of(clone, norms, images)
    single = [n for n, shape in shapes.items() if math.prod(shape) == shape[0] * shape[1]]
    bare = [n for n in single if norms[n].running_mean is None]
    if bare:
        raise KdstError(
            f"one image alone has no statistics for the model's BatchNorm layer {bare[0]}, which has one"
            " value a channel and keeps none of training.\nGive --batch-size 2 or more and at least two"
            " images"
        )
    return single


def check_batch_size(
    predictor: Any, stream: "Stream", single: Sequence[str], window: int | None
) -> None:
    """Raise KdstError when a method's BatchNorm would have to take statistics of a single value."""
    if single and window is None and uses_batch(predictor):
        first = next(s.key for s in stream.shifts if len(stream.rows(s)[0]) == 1)
        raise KdstError(
            f"a batch of one image ({first}) has no statistics for the model's BatchNorm layer"
            f" {single[0]}, which has one value a channel.\n"
            "Give --window 64, or --batch-size 2 or more and at least two images"
        )


def uses_batch(predictor: Any) -> bool:
    """Return whether a predictor shows a network whose BatchNorm takes the statistics of batches."""
    from torch import nn

    from kdst_adapt.kit import takes_batch_statistics

    model = getattr(getattr(predictor, "inner", predictor), "model", None)
    return isinstance(model, nn.Module) and takes_batch_statistics(model)


def check_method(job: Job, model: "nn.Module") -> None:
    """Raise KdstError when a method that updates parameters would find none."""
    from kdst_adapt.kit import select_parameters
    from kdst_adapt.update import UpdateOptions

    if isinstance(job.options, UpdateOptions):
        select_parameters(model, job.options.params)


bench = AdaptBench()
