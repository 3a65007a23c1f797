"""The bench's own options: whose vectors, of which texts, and what is studied."""

from pathlib import Path
from typing import Literal

from attrs import frozen

from kdst_batch.executors import place
from kdst_core.options import option

Stage = Literal["invert", "fit"]
Study = Literal["none", "defence", "noise", "search", "length", "access"]
Pooling = Literal["mean", "cls", "pooler", "max", "weightedmean", "lasttoken"]


@frozen
class InvertInputs:
    """Texts, vectors, embedder, and what is done with them."""

    texts: Path | None = option(
        None,
        "File with a text a line (.txt) or JSON lines with text and fields (.jsonl). Default: held-out"
        " notes of the embedded kind.",
    )
    embeddings: Path | None = option(
        None,
        "File of vectors: .npy (N, D), or .parquet with a column embedding and, where known, text."
        " Default: the embedder's, of the texts.",
    )
    embedder: str = option(
        "minilm",
        "What made the vectors: minilm, a directory or hub id (owner/name) of a transformers encoder,"
        " st:NAME for sentence-transformers, endpoint, or module:function.",
    )
    pooling: Pooling | None = option(
        None,
        "How an encoder's token vectors become one: mean, cls, pooler, max, weightedmean, lasttoken."
        " Default: as the directory's modules.json says, else mean.",
    )
    normalise: bool | None = option(
        None,
        "Whether the vectors of an encoder or endpoint have length 1. Default: as the directory's"
        " modules.json says; an endpoint's as they come.",
    )
    prefix: str = option(
        "", "Put before every text that the embedder is asked for, such as 'passage: '."
    )
    prompt: str | None = option(
        None,
        "Name of the prompt of a sentence-transformers model that is put before every text. Default: the"
        " model's own default, where it has one.",
    )
    endpoint: str | None = option(
        None,
        "Address of an OpenAI-compatible service, such as https://host/v1; texts are sent there. The"
        " key is read from OPENAI_API_KEY.",
    )
    endpoint_model: str | None = option(None, "Name of the model at the endpoint.")
    endpoint_batch: int = option(
        64, "Texts a request to the endpoint; halved where it answers 413 (too large).", min=1
    )
    dimensions: int | None = option(
        None,
        "Length of the vectors that the endpoint is asked for. Default: the model's own.",
        min=1,
    )
    calls: int | None = option(
        None,
        "Most texts that the endpoint may embed in this run, resumed or not; it must be given. --resume"
        " takes a higher one.",
        min=1,
        grows=True,
    )
    count: int | None = option(
        None, "Texts to invert. Default: 500 of the notes, all of a file.", min=1
    )
    block: int = option(64, "Texts between two saved states; more need more memory.", min=1)
    controls: bool = option(
        True,
        "Also measure greedy search, shuffled embeddings and the nearest training note, where known.",
    )
    stage: Stage = option(
        "invert", "fit: train the inverter first, on the texts without those held out."
    )
    training: int = option(4000, "fit without --texts: notes to train on.", min=100)
    holdout: float = option(
        0.1, "fit: share of the texts that is held out and inverted, at most 500.", above=0, max=0.5
    )
    noise: float = option(
        0.0, "fit: highest λ of Gaussian noise in training, for an adaptive attacker.", min=0
    )
    study: Study = option(
        "none",
        "defence: what noise, rounding, dropping and rotation protect; noise: Gaussian noise alone, soon"
        " done; search: steps x beam; length: 16 to 128 tokens; access: what asking the embedder is worth.",
    )
    pairs: list[int] = option(
        [0, 10, 100, 1000],
        "study defence: numbers of known pairs for which the curve says what is read.",
        min=0,
    )
    executor: str = place.executor()
    jobs: int | None = place.jobs("one a CPU, at most 4, for 256 texts or more; else 1")
    address: str = place.address()
    gpus_each: float = place.gpus_each()
