"""A run of the method: train where it is asked to, then invert block after block."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import evolve

from kdst_invert.embedders.precision import settled
from kdst_vec2text.belongs import embedder_notes
from kdst_vec2text.fit import FitSettings, Services, Texts, fit, forget, split
from kdst_vec2text.inversion import InversionSettings, invert_block
from kdst_vec2text.pair import HYPOTHESISER, Vec2Text, load_corrector
from kdst_vec2text.tokens import FILE, Tokens
from kdst_vec2text.trainer import TrainSettings

if TYPE_CHECKING:
    from kdst_core.contracts import Inversion, InvertRequest, RunServices, Training
    from kdst_vec2text import Vec2TextOptions


def invert_request(
    request: "InvertRequest", options: "Vec2TextOptions", run: "RunServices"
) -> "Iterator[Inversion]":
    """Load or train the inverter, check that it fits the vectors, and return what it finds."""
    if request.training is None:
        model = load_corrector(options.model, options.corrector)
    else:
        model = trained(request, request.training, options, run)
    model.check_shape(request.embeddings)
    asked = options.budget != 0
    if asked:
        model.check_embedder(request.embed)
    said = notes(model, options)
    if request.training is not None:
        said += cut_texts(model, request.training.texts) + trained_in(run.device)
    dtype = torch.bfloat16 if options.precision == "bfloat16" else torch.float32
    model = model.to(run.device, dtype)
    if request.training is None:
        said += embedder_notes(model, request.embed, asked)
    return _blocks(model, request, settings(options), said)


def settings(options: "Vec2TextOptions") -> InversionSettings:
    """The part of the options that inversion goes by."""
    names = ("steps", "beam", "batch", "patience", "budget", "max_tokens")
    return InversionSettings(**{name: getattr(options, name) for name in names})


def notes(model: Vec2Text, options: "Vec2TextOptions") -> tuple[str, ...]:
    """What a user must know of the inverter."""
    if model.corrector is None and options.steps:
        return ("there is no corrector: the texts are the hypothesiser's first hypotheses",)
    return ()


def cut_texts(model: Vec2Text, texts: Sequence[str]) -> tuple[str, ...]:
    """What a user must know of training texts that were longer than the inverter writes."""
    longest = model.config.max_seq_length
    cut = sum(length > longest for length in model.tokens.lengths(texts))
    if not cut:
        return ()
    return (
        f"{cut} of {len(texts)} training texts have more than {longest} tokens and were cut;"
        " --max-seq-length sets more",
    )


def trained_in(device: str) -> tuple[str, ...]:
    """What a user must know of the precision of a fit, which the device decides."""
    if settled("auto", device, training=True) == "float32":
        return ()
    return (
        "the networks were trained in bfloat16, which this device multiplies faster;"
        " others train in float32, to slightly other weights",
    )


def _blocks(
    model: Vec2Text, request: "InvertRequest", how: InversionSettings, said: tuple[str, ...]
) -> "Iterator[Inversion]":
    """Invert the blocks one after another; nothing is kept from one to the next."""
    blocks = [range(len(request.embeddings))] if request.blocks is None else request.blocks
    for rows in blocks:
        e = request.embeddings[rows.start : rows.stop]
        model.check_vectors(e, rows.start)
        yield from invert_block(model, request.embed, e, how, rows, said, request.view)


def fit_settings(options: "Vec2TextOptions", seed: int, noise: float) -> FitSettings:
    """The part of the options that a fit goes by."""

    def stage(epochs: int) -> TrainSettings:
        return TrainSettings(
            epochs=epochs,
            learning_rate=options.learning_rate,
            warmup=options.warmup,
            batch=options.train_batch,
            stop_after=options.stop_after,
            noise=noise,
            seed=seed,
        )

    return FitSettings(
        base=options.base,
        k=options.num_repeat_tokens,
        max_tokens=options.max_seq_length,
        hypothesiser=stage(options.epochs),
        corrector=stage(options.corrector_epochs or options.epochs),
        hypotheses=options.hypotheses,
    )


def trained(
    request: "InvertRequest",
    training: "Training",
    options: "Vec2TextOptions",
    run: "RunServices",
) -> Vec2Text:
    """The inverter of a fit: trained now, or read where an earlier session finished it."""
    if training.directory.is_dir():
        return load_corrector(str(training.directory), options.corrector)
    if training.validation:
        texts = Texts(training.texts, training.validation, training.embeddings)
    else:
        texts = split(training.texts, training.embeddings, request.generator)
    work = training.directory.with_name(f"{training.directory.name}.fit")
    services = Services(work, run.log, run.progress, run.device, run.seed)
    how = fit_settings(options, run.seed, training.noise)
    model = fit(texts, request.embed, how, services)
    model.save(training.directory)
    forget(work)
    saved = training.directory / HYPOTHESISER / FILE
    return evolve(model, tokens=Tokens(model.tokens.tokenizer, saved))
