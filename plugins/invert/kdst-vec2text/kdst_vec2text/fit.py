"""Training of both stages: vectors, hypothesiser, hypotheses, corrector. Every stage is resumable."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_vec2text.config import CheckpointConfig
from kdst_vec2text.examples import Examples, Ragged
from kdst_vec2text.hypotheses import HypothesisMaker
from kdst_vec2text.models import Corrector, Hypothesiser
from kdst_vec2text.origin import Origin, origin
from kdst_vec2text.pair import Examples as Known
from kdst_vec2text.pair import Vec2Text
from kdst_vec2text.shards import joined, sharded
from kdst_vec2text.trainer import Log, Progress, Trainer, TrainSettings

SMALL = {
    "d_model": 192,
    "d_kv": 32,
    "num_heads": 6,
    "d_ff": 512,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "dropout_rate": 0.1,
}
"""A T5 that trains on a laptop."""
Pairs = tuple[Examples, Examples]
"""Of training and of validation."""
VECTORS_SHARD = 4096
KNOWN = 16
"""Training texts whose embeddings are stored with the model."""


@frozen
class FitSettings:
    """How an inverter is trained from texts.

    base: `small` for a T5 of the shape `t5` with its own vocabulary, `tiny` or the directory of an
    inverter to go on from both of its networks, or the directory or hub id of a T5.
    vocabulary: most tokens of that vocabulary. k: pseudo-tokens. hypotheses: of each text.
    warm_start: the corrector's T5 and T₁ begin as the hypothesiser's.
    """

    base: str = "small"
    t5: Mapping[str, Any] = field(factory=SMALL.copy)
    vocabulary: int = 1024
    k: int = 16
    max_tokens: int = 32
    hypothesiser: TrainSettings = field(factory=TrainSettings)
    corrector: TrainSettings = field(factory=TrainSettings)
    hypotheses: int = 1
    warm_start: bool = True


@frozen
class Texts:
    """Training and validation texts, with embeddings (n, D) where they are known already."""

    training: Sequence[str]
    validation: Sequence[str]
    e: Tensor | None = None
    validation_e: Tensor | None = None


@frozen
class Services:
    """Where a fit works, and how it shows what it does. seed: of the first weights."""

    work: Path
    log: Log
    progress: Progress
    device: str = "cpu"
    seed: int = 0


def split(texts: Sequence[str], e: Tensor | None, generator: torch.Generator) -> Texts:
    """Hold out a twentieth of the texts, at least one and at most 512, for validation.

    The same text is never on both sides.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) < 2:
        raise KdstError("a fit needs at least two different texts")
    order = torch.randperm(len(distinct), generator=generator)
    held = {distinct[i] for i in order[: min(512, max(1, len(distinct) // 20))].tolist()}
    rows = [i for i, text in enumerate(texts) if text not in held]
    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    validation = [text for text in distinct if text in held]
    return Texts(
        [texts[i] for i in rows],
        validation,
        None if e is None else e[rows],
        None if e is None else e[[first[text] for text in validation]],
    )


def fit(texts: Texts, embed: Embedder, settings: FitSettings, services: Services) -> Vec2Text:
    """Train hypothesiser and corrector; what an earlier session did in `work` is gone on from."""
    services.work.mkdir(parents=True, exist_ok=True)
    start = origin(
        settings.base,
        texts.training,
        t5=settings.t5,
        vocabulary=settings.vocabulary,
        k=settings.k,
        work=services.work,
    )
    pairs = _pairs(texts, start, embed, settings, services)
    hypothesiser = start.hypothesiser(pairs[0].e.shape[1], services.seed)
    _train(hypothesiser, pairs, settings.hypothesiser, services, "hypothesiser")
    corrections = _corrections(hypothesiser, pairs, start, embed, settings, services)
    corrector = start.corrector(hypothesiser, services.seed, warm=settings.warm_start)
    if len(corrections[0]):
        _train(corrector, corrections, settings.corrector, services, "corrector")
    known = Known(list(texts.training[:KNOWN]), pairs[0].e[:KNOWN])
    config = CheckpointConfig(
        num_repeat_tokens=start.k,
        model_name_or_path=start.name,
        embedder_model_name=embed.name,
        max_seq_length=settings.max_tokens,
        embedder_dimension=embed.dimension,
        normalised=embed.normalised,
    )
    return Vec2Text(hypothesiser, corrector, start.tokens, config, known)


def _pairs(
    texts: Texts, start: Origin, embed: Embedder, settings: FitSettings, services: Services
) -> Pairs:
    """Texts and embeddings, for training and for validation."""
    if start.begun is not None:
        start.begun.check_embedder(embed)
    found = []
    for part, given, name in (
        (texts.training, texts.e, "vectors"),
        (texts.validation, texts.validation_e, "validation-vectors"),
    ):
        e = _vectors(part, given, embed, services, name)
        found.append(Examples(Ragged.of(start.tokens.ids(part, settings.max_tokens)), e))
    return found[0], found[1]


def _corrections(
    hypothesiser: Hypothesiser,
    pairs: Pairs,
    start: Origin,
    embed: Embedder,
    settings: FitSettings,
    services: Services,
) -> Pairs:
    """Hypotheses to correct, for training and for validation; those of training where none is wrong."""
    maker = HypothesisMaker(
        hypothesiser,
        start.tokens,
        embed,
        count=settings.hypotheses,
        max_tokens=settings.max_tokens,
        noise=settings.corrector.noise,
        seed=settings.corrector.seed,
    )
    training, held = (
        maker.examples(p.texts, p.e, services.work / name, services.progress, name)
        for p, name in zip(pairs, ("hypotheses", "validation-hypotheses"), strict=True)
    )
    return training, held if len(held) else training


def _vectors(
    texts: Sequence[str], given: Tensor | None, embed: Embedder, services: Services, name: str
) -> Tensor:
    """Embeddings (n, D) of texts: those given, or the embedder's, kept on disk."""
    if given is not None:
        return given.float()

    def compute(rows: range) -> dict[str, Tensor]:
        return {"e": embed(list(texts[rows.start : rows.stop])).detach().float().cpu()}

    directory = services.work / name
    shards = sharded(directory, len(texts), VECTORS_SHARD, compute, services.progress, name)
    return joined(shards, "e")


def _train(
    network: Hypothesiser | Corrector,
    pairs: Pairs,
    settings: TrainSettings,
    services: Services,
    label: str,
) -> None:
    """Train one network on the run's device, from its checkpoint on."""
    network.to(services.device)
    checkpoint = services.work / f"{label}.pt"
    trainer = Trainer(network, *pairs, settings, checkpoint, log=services.log, label=label)
    trainer.train(services.progress)


def forget(work: Path) -> None:
    """Remove what a finished fit left behind."""
    shutil.rmtree(work, ignore_errors=True)
