"""From what a user names to an embedder."""

import importlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError
from kdst_invert.embedders.encoder import load_encoder
from kdst_invert.embedders.endpoint import Endpoint
from kdst_invert.embedders.minilm import minilm
from kdst_invert.inputs import InvertInputs
from kdst_invert.precision import Precision, Settled, precision_of

KEY = "OPENAI_API_KEY"
UNIT = 1e-3


@frozen
class Function:
    """A function from texts to vectors as an embedder."""

    name: str
    function: Callable[[Sequence[str]], Any] = field(repr=False)
    dimension: int
    normalised: bool

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D) float32; KdstError when the function returns something else."""
        return vectors_of(self.function(list(texts)), len(texts), self.name)


def vectors_of(found: Any, count: int, name: str) -> Tensor:
    """What an embedder returned as (n, D) float32 on the CPU; KdstError when it is not that."""
    try:
        vectors = torch.as_tensor(found).detach().float().cpu()
    except (TypeError, ValueError, RuntimeError) as e:
        raise KdstError(f"{name} returned a {type(found).__name__}, not vectors (n, D)") from e
    if vectors.ndim != 2 or len(vectors) != count or not bool(vectors.isfinite().all()):
        raise KdstError(
            f"{name} returned shape {tuple(vectors.shape)} for {count} texts;"
            " it must return finite numbers (n, D)"
        )
    return vectors


def as_embedder(function: Callable[[Sequence[str]], Any], name: str) -> Embedder:
    """An embedder from a function; dimension and length are read from one call."""
    if all(hasattr(function, part) for part in ("name", "dimension", "normalised")):
        return cast(Embedder, function)
    if not callable(function):
        raise KdstError(f"{name} is not a function of a list of texts")
    vectors = vectors_of(function(["a", "another text"]), 2, name)
    unit = bool(((vectors.norm(dim=1) - 1).abs() < UNIT).all())
    return Function(name, function, vectors.shape[1], unit)


@frozen
class Prefixed:
    """An embedder that is given every text with a prefix."""

    inner: Embedder
    prefix: str

    @property
    def name(self) -> str:
        """The embedder's name."""
        return self.inner.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.inner.dimension

    @property
    def normalised(self) -> bool:
        """Whether vectors have length 1."""
        return self.inner.normalised

    @property
    def precision(self) -> Settled | None:
        """Precision of the encoder inside, which workers take too."""
        return precision_of(self.inner)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D) float32 of the texts with the prefix."""
        return self.inner([self.prefix + text for text in texts])


def prefixed(embed: Embedder, prefix: str) -> Embedder:
    """The embedder with a prefix before every text, where there is one."""
    if not prefix:
        return embed
    if isinstance(embed, Endpoint):
        embed.prefix = prefix
        return embed
    return Prefixed(embed, prefix)


def choose(inputs: InvertInputs, device: str, precision: Precision = "auto") -> Embedder:
    """The embedder that the options name, with their prefix. precision: of an encoder loaded here."""
    return prefixed(_named(inputs, device, precision), inputs.prefix)


def _named(inputs: InvertInputs, device: str, precision: Precision) -> Embedder:
    """The embedder that the options name."""
    name = inputs.embedder
    if name == "minilm":
        return minilm(device, precision)
    if name == "endpoint":
        return _endpoint(inputs)
    if name.startswith("st:"):
        return _sentence_transformers(name.removeprefix("st:"), device)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return as_embedder(_import(name), name)
    directory = _directory(name)
    if inputs.endpoint is not None:
        raise KdstError("--endpoint is only asked with --embedder endpoint")
    return load_encoder(
        directory,
        name=name,
        pooling=inputs.pooling,
        normalised=bool(inputs.normalise),
        device=device,
        precision=precision,
    )


def _import(name: str) -> Any:
    """The function at `module:function`."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as e:
        raise KdstError(f"--embedder {name}: cannot import {module}: {e}") from e
    if not hasattr(found, attribute):
        raise KdstError(f"--embedder {name}: {module} has no {attribute}")
    return getattr(found, attribute)


def _directory(name: str) -> Path:
    """The directory of an encoder: one that exists, or the snapshot of a hub id."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
        raise KdstError(
            f"--embedder {name!r} is neither minilm, a directory, a hub id (owner/name), st:NAME,"
            " endpoint nor module:function"
        )
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        found = snapshot_download(repository, revision=revision or None, allow_patterns=patterns)
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise KdstError(
            f"--embedder {name!r} is no directory, and the hub has no such model at hand: {reason}"
        ) from e
    return Path(found)


def _sentence_transformers(name: str, device: str) -> Embedder:
    """A model of sentence-transformers, where that library is installed."""
    try:
        library = importlib.import_module("sentence_transformers")
    except ImportError as e:
        raise KdstError(
            f"--embedder st:{name} needs sentence-transformers: pip install sentence-transformers"
        ) from e
    try:
        model = library.SentenceTransformer(name, device=device)
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise KdstError(f"sentence-transformers cannot load {name!r}: {reason}") from e

    def embed(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False)

    return as_embedder(embed, f"st:{name}")


def _endpoint(inputs: InvertInputs) -> Embedder:
    """The service that the options name; KdstError unless address, model and budget are given."""
    missing = [
        flag
        for flag, value in (
            ("--endpoint URL", inputs.endpoint),
            ("--endpoint-model NAME", inputs.endpoint_model),
            ("--calls N", inputs.calls),
        )
        if value is None
    ]
    if inputs.endpoint is None or inputs.endpoint_model is None or inputs.calls is None:
        raise KdstError(f"--embedder endpoint sends texts to a service; also give {missing[0]}")
    return Endpoint.open(
        inputs.endpoint,
        inputs.endpoint_model,
        inputs.calls,
        key=os.environ.get(KEY),
        normalised=inputs.normalise,
        batch=inputs.endpoint_batch,
        dimensions=inputs.dimensions,
    )
