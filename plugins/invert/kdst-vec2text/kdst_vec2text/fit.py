"""Training of both stages: vectors, hypothesiser, hypotheses, corrector. Every stage is resumable."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import evolve, field, frozen
from tokenizers import Tokenizer
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_vec2text.config import CheckpointConfig
from kdst_vec2text.examples import Examples, Ragged
from kdst_vec2text.hypotheses import HypothesisMaker
from kdst_vec2text.models import Corrector, Hypothesiser, t5_config
from kdst_vec2text.pair import Examples as Known
from kdst_vec2text.pair import HYPOTHESISER, Vec2Text, load_corrector
from kdst_vec2text.shards import joined, sharded
from kdst_vec2text.tokens import FILE, Tokens, load_tokens, train_tokens
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
    begun = _begun(settings.base)
    if begun is None:
        tokens, base = _base(texts.training, settings, services.work)
    else:
        tokens, base = begun.tokens, None
        settings = evolve(settings, k=begun.config.num_repeat_tokens)
    e = _vectors(texts.training, texts.e, embed, services, "vectors")
    held_e = _vectors(texts.validation, texts.validation_e, embed, services, "validation-vectors")
    ids = Ragged.of(tokens.ids(texts.training, settings.max_tokens))
    held_ids = Ragged.of(tokens.ids(texts.validation, settings.max_tokens))
    if begun is None:
        hypothesiser = Hypothesiser(*_shape(tokens, settings, e, services, base))
        _start_from(base, hypothesiser)
    else:
        begun.check_vectors(e)
        hypothesiser = begun.hypothesiser
    hypothesiser.to(services.device)
    pairs = Examples(ids, e), Examples(held_ids, held_e)
    _train(hypothesiser, pairs, settings.hypothesiser, services, "hypothesiser")
    maker = HypothesisMaker(
        hypothesiser,
        tokens,
        embed,
        count=settings.hypotheses,
        max_tokens=settings.max_tokens,
        noise=settings.corrector.noise,
        seed=settings.corrector.seed,
    )
    work, progress = services.work, services.progress
    training = maker.examples(ids, e, work / "hypotheses", progress, "hypotheses")
    held = maker.examples(
        held_ids, held_e, work / "validation-hypotheses", progress, "validation hypotheses"
    )
    if begun is not None and begun.corrector is not None:
        corrector = begun.corrector
    else:
        torch.manual_seed(services.seed)
        corrector = Corrector(hypothesiser.encoder_decoder.config, e.shape[1], settings.k)
        if settings.warm_start or begun is not None:
            _warm(corrector, hypothesiser)
        else:
            _start_from(base, corrector)
    corrector.to(services.device)
    if len(training):
        pairs = training, held if len(held) else training
        _train(corrector, pairs, settings.corrector, services, "corrector")
    known = Known(list(texts.training[:KNOWN]), e[:KNOWN].float())
    config = CheckpointConfig(
        num_repeat_tokens=settings.k,
        model_name_or_path="" if base is None else settings.base,
        embedder_model_name=embed.name,
        max_seq_length=settings.max_tokens,
        embedder_dimension=embed.dimension,
        normalised=embed.normalised,
    )
    return Vec2Text(hypothesiser, corrector, tokens, config, known)


def _begun(base: str) -> Vec2Text | None:
    """The inverter that `base` names, to go on from; None where it names a T5 or none."""
    whole = base == "tiny" or (Path(base) / HYPOTHESISER).is_dir()
    return load_corrector(base) if whole else None


def _base(texts: Sequence[str], settings: FitSettings, work: Path) -> tuple[Tokens, Any | None]:
    """The tokeniser, and the T5 to start from unless it is made anew."""
    if settings.base == "small":
        path = work / FILE
        if not path.exists():
            made = train_tokens(texts, settings.vocabulary)
            made.tokenizer.save(str(path.with_suffix(".part")))
            path.with_suffix(".part").replace(path)
        return Tokens(Tokenizer.from_file(str(path))), None
    from transformers import T5ForConditionalGeneration

    try:
        model = T5ForConditionalGeneration.from_pretrained(settings.base)
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise KdstError(f"cannot load the T5 {settings.base!r}: {reason}") from e
    return load_tokens(Path(settings.base), settings.base), model


def _shape(
    tokens: Tokens, settings: FitSettings, e: Tensor, services: Services, base: Any | None
) -> tuple[Any, int, int]:
    """Configuration, D and k of a network, with the random state set for its first weights."""
    torch.manual_seed(services.seed)
    fields = {**settings.t5, "vocab_size": tokens.size} if base is None else base.config.to_dict()
    return t5_config(fields), e.shape[1], settings.k


def _start_from(base: Any | None, network: Hypothesiser | Corrector) -> None:
    """Copy the weights of the T5 to start from, where there is one."""
    if base is not None:
        network.encoder_decoder.load_state_dict(base.state_dict())


def _warm(corrector: Corrector, hypothesiser: Hypothesiser) -> None:
    """Begin the corrector as the hypothesiser."""
    corrector.encoder_decoder.load_state_dict(hypothesiser.encoder_decoder.state_dict())
    state = hypothesiser.embedding_transform.state_dict()
    corrector.get_submodule("embedding_transform_1").load_state_dict(state)


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
    pairs: tuple[Examples, Examples],
    settings: TrainSettings,
    services: Services,
    label: str,
) -> None:
    """Train one network from its checkpoint on."""
    checkpoint = services.work / f"{label}.pt"
    trainer = Trainer(network, *pairs, settings, checkpoint, log=services.log, label=label)
    trainer.train(services.progress)


def forget(work: Path) -> None:
    """Remove what a finished fit left behind."""
    shutil.rmtree(work, ignore_errors=True)
