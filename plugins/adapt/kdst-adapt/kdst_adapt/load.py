"""From the options of a run to its target: device, streams, classifier and source data, all checked."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import evolve, frozen
from torch import Tensor, nn

from kdst_adapt.asked import check_images, needs_source, needs_text, order
from kdst_adapt.audit import batches, model, source
from kdst_adapt.audit import data as of_data
from kdst_adapt.audit.findings import Finding
from kdst_adapt.baselines import fixed
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.kit import select_parameters
from kdst_adapt.models import amp, classifier, clip, norms, packaged
from kdst_adapt.options import UpdateOptions
from kdst_adapt.streams import changing, classes, data, protocols, settings, source_data
from kdst_adapt.streams.sampling import cut
from kdst_adapt.streams.shift import Shift
from kdst_adapt.streams.stream import Stream
from kdst_adapt.studies import study
from kdst_adapt.studies.probe import Probe
from kdst_adapt.studies.selection import Selection
from kdst_adapt.surroundings import own_surroundings
from kdst_core.bench.contract import Job
from kdst_core.bench.device import choose
from kdst_core.errors import KdstError


@frozen
class Target:
    """What a run works on, loaded and checked.

    source: batches (images, labels) of the training distribution, or None. example: images
    (2, C, H, W). single: BatchNorm layers that one image alone gives no statistics, where a batch holds
    one. live: whether the data came from Python. threads: of torch, None for its own number.
    departures: of the streams from the protocol that is named.
    """

    job: Job
    device: str
    model: nn.Module
    num_classes: int
    stream: Stream
    source: Sequence[tuple[Tensor, Tensor]] | None
    probe: Probe
    findings: list[Finding]
    example: Tensor
    single: Sequence[str]
    live: bool = False
    threads: int | None = None
    departures: Sequence[str] = ()


@frozen
class Loaded:
    """A classifier, the first images that it will see, and what was mended for it."""

    model: nn.Module
    example: Tensor
    classes: int
    mended: list[Finding]


def load(job: Job) -> Target:
    """Return the target of a run; KdstError for anything wrong with what it was given."""
    with own_surroundings(threads_of(job.inputs), job.seed):
        return _load(job)


def _load(job: Job) -> Target:
    """Do the work of `load`, with gradients and threads as a run has them."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads thrash a busy machine
    device = choose(job.device, job.method.description.needs)
    inputs, of_size = packaged.sized(job.inputs, live=bool({"model", "data"} & job.objects.keys()))
    job = evolve(job, inputs=inputs)
    shifts = data.load(job.inputs, job.seed, job.objects.get("data"))
    loaded = _classifier(job, shifts[0], device)
    shifts, named, doubt = classes.assign(shifts, loaded.classes, loaded.model, job.inputs.classes)
    findings = [*of_size, *of_data.of_pixels(shifts), *of_data.of_files(shifts, named, doubt)]
    told = _departures(job, shifts)
    stream = _stream(job, shifts, loaded, device)
    single = _single(stream, loaded, device)
    if isinstance(job.options, UpdateOptions):
        select_parameters(loaded.model, job.options.params)
    probe = study.probe(job.inputs, stream, loaded.classes)
    findings = _audit(job, loaded, stream, device, findings)
    if single:
        norms.keep_statistics_of_training(loaded.model, single)
        findings.append(batches.of_single(single))
    if job.inputs.amp != "no":
        amp.install(loaded.model, loaded.example, device, job.inputs.amp)
        findings.append(model.of_amp(job.inputs.amp, device))
    findings += of_data.of_protocol(job.inputs.protocol, told)
    training = _source(job, stream, loaded)
    if training is not None:
        findings += of_data.of_pixels([training.shift], "source data")
    if isinstance(probe, Selection):
        probe.source = training
    taken = training if _takes_source(job) else None
    return Target(
        *(_without_data(job), device, loaded.model, loaded.classes, stream, taken, probe),
        *(findings, loaded.example[:2], single, "data" in job.objects),
        threads_of(job.inputs),
        told,
    )


def _departures(job: Job, shifts: Sequence[Shift]) -> list[str]:
    """Return where the streams depart from the protocol that is named, nothing without one."""
    name, kind = job.inputs.protocol, job.inputs.data.partition(":")[0]
    return [] if name == "none" else protocols.departures(name, kind, shifts)


def _classifier(job: Job, shift: Shift, device: str) -> Loaded:
    """Return the classifier that a run adapts, tried on the first images of a stream."""
    inputs: AdaptInputs = job.inputs
    if inputs.model == "embedded" and inputs.data != "digits":
        raise KdstError(
            "the embedded model knows only the embedded digits.\n"
            "Give --model resnet20|32|44|56 with --weights FILE, or --model module.path:factory"
        )
    net = classifier.load(inputs, job.objects.get("model"), shift.names)
    if "text" in job.method.description.needs and clip.parts(net).get("text") is None:
        raise needs_text(job.method.name)
    example = shift.pictures(cut(np.arange(len(shift.labels)), 2)[0])
    check_channels(inputs, example.shape[1])
    net, several = classifier.with_logits_only(net, example, device)
    count = classifier.num_classes(net, example, device)
    mended = model.mend_forward(net, example)
    return Loaded(net, example, count, [*mended, *([model.of_outputs()] if several else [])])


def _stream(job: Job, shifts: Sequence[Shift], loaded: Loaded, device: str) -> Stream:
    """Return the protocol of a run over shifts whose labels are logits."""
    inputs: AdaptInputs = job.inputs
    for shift in shifts:
        check_labels(shift.labels, loaded.classes, shift.key)
    if inputs.setting == "changing":
        predict = fixed.source(loaded.model, device).predict
        shifts = [changing.changing(shifts, job.seed, loaded.classes, predict)]
    shifts = settings.arrange(shifts, inputs.setting)
    study.check(inputs.study, shifts, job.method.name)
    check_images(inputs)
    return Stream(
        shifts,
        inputs.batch_size or (50 if inputs.data == "digits" else 200),
        order(inputs, live="data" in job.objects),
        inputs.reset,
        job.seed,
        inputs.dirichlet,
        inputs.imbalance,
        protocols.PARTS if inputs.protocol == "rotta-dirichlet" else None,
    )


def _single(stream: Stream, loaded: Loaded, device: str) -> list[str]:
    """Return the layers that one image gives no statistics, where a batch of the stream holds one."""
    if not batches.has_single(stream):
        return []
    return batches.single_values(loaded.model, loaded.example, device)


def _audit(
    job: Job, loaded: Loaded, stream: Stream, device: str, of_files: Sequence[Finding]
) -> list[Finding]:
    """Return what the audit finds of stream, model and source's predictions, in the report's order."""
    gradients = "gradients" in job.method.description.needs
    net, example = loaded.model, loaded.example
    return [
        *of_data.of_stream(stream, loaded.classes),
        *of_data.of_window(job.inputs.window, stream.batch_size),
        *of_files,
        *model.examine(net, example, device, job.options, gradients=gradients),
        *source.of_source(net, device, stream.shifts),
        *loaded.mended,
    ]


def _source(job: Job, stream: Stream, loaded: Loaded) -> source_data.Batches | None:
    """Return source batches, or None; KdstError when the method needs them and has none.

    The study of selection takes them too, where they are at hand.
    """
    from kdst_adapt.default import data as digits

    inputs: AdaptInputs = job.inputs
    live: Any = job.objects.get("source")
    if live is None and not inputs.source:
        needed = _takes_source(job)
        if not needed and inputs.study != "selection":
            return None
        if inputs.data != "digits" or "data" in job.objects:
            if needed:
                raise needs_source(job.method.name)
            return None
        live = digits.load(train=True)
    shape = stream.shifts[0].input_shape
    shift = source_data.load(inputs, live, job.seed, loaded.model, loaded.classes, shape)
    check_labels(shift.labels, loaded.classes, "--source")
    shuffled = source_data.in_folders(inputs, live)
    return source_data.Batches(shift, stream.batch_size, job.seed, shuffled=shuffled)


def _takes_source(job: Job) -> bool:
    """Return whether a method is given source data: it needs them, or the user gives them."""
    given = bool(job.inputs.source) or "source" in job.objects
    return given or "source" in job.method.description.needs


def _without_data(job: Job) -> Job:
    """Return a job that no longer holds labelled data from Python, which the streams hold."""
    return evolve(job, objects={k: v for k, v in job.objects.items() if k != "data"})


def threads_of(inputs: AdaptInputs) -> int | None:
    """Return the number of CPU threads that the options say, None for torch's own."""
    return inputs.threads or (1 if inputs.model == "embedded" else None)


def check_labels(labels: Any, classes: int, where: str) -> None:
    """Raise KdstError when a label has no logit."""
    top = int(labels.max())
    if top >= classes:
        raise KdstError(
            f"the data has label {top} ({where}), the model has {classes} classes (labels 0 to"
            f" {classes - 1}).\nCheck that weights and data belong together"
        )


def check_channels(inputs: AdaptInputs, channels: int) -> None:
    """Raise KdstError for --mean and --std of another number of channels than the images have."""
    if len(inputs.mean) not in (0, 1, channels):
        raise KdstError(
            f"--mean and --std have {len(inputs.mean)} numbers, the images {channels} channels.\n"
            "Give one number a channel, or one for all"
        )
