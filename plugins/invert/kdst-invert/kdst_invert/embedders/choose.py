"""From what a user names to an embedder."""

import importlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen
from torch import Tensor

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError, first_line
from kdst_invert.embedders.directory import encoder_of, library_model
from kdst_invert.embedders.endpoint import Endpoint
from kdst_invert.embedders.function import as_embedder
from kdst_invert.embedders.minilm import minilm
from kdst_invert.embedders.precision import Precision, Settled, precision_of
from kdst_invert.embedders.wrapped import Wrapped
from kdst_invert.inputs import InvertInputs

KEY = "OPENAI_API_KEY"
FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`module:function`."""


@frozen
class Prefixed(Wrapped):
    """An embedder that is given every text with a prefix."""

    prefix: str

    @property
    def precision(self) -> Settled | None:
        """Precision of the encoder inside, which workers take too."""
        return precision_of(self.inner)

    @property
    def said(self) -> tuple[str, ...]:
        """What a user must know of the embedder inside."""
        found: tuple[str, ...] = getattr(self.inner, "said", ())
        return found

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
    if inputs.prefix and inputs.prompt is not None:
        raise KdstError("give --prefix or --prompt, not both: either is put before every text")
    _check_heard(inputs)
    found = _named(inputs, device, precision)
    wanted = inputs.normalise
    if _kind(inputs.embedder) in ("minilm", "function") and wanted not in (None, found.normalised):
        have = "have" if found.normalised else "do not have"
        raise KdstError(
            f"--normalise: the vectors of {inputs.embedder} {have} length 1, whatever is asked; leave it out"
        )
    return prefixed(found, inputs.prefix or getattr(found, "prompt", ""))


def _kind(name: str) -> str:
    """What an embedder's name stands for: minilm, endpoint, library, function, or a place."""
    if name in ("minilm", "endpoint"):
        return name
    if name.startswith("st:"):
        return "library"
    return "function" if FUNCTION.fullmatch(name) else "place"


def _check_heard(inputs: InvertInputs) -> None:
    """Raise KdstError for an option that the named embedder would not hear."""
    kind, name = _kind(inputs.embedder), inputs.embedder
    own = "mean" if kind == "minilm" else None
    if kind != "place" and inputs.pooling not in (None, own):
        raise KdstError(
            f"--pooling {inputs.pooling} is for an encoder in a directory or of the hub; {name} pools by"
            " itself. Leave it out, or name a directory"
        )
    if kind == "endpoint":
        return
    for flag, value in (
        ("--endpoint", inputs.endpoint),
        ("--endpoint-model", inputs.endpoint_model),
        ("--dimensions", inputs.dimensions),
    ):
        if value is not None:
            raise KdstError(
                f"{flag} is only heard with --embedder endpoint, and --embedder is {name}; leave one out"
            )


def _named(inputs: InvertInputs, device: str, precision: Precision) -> Embedder:
    """The embedder that the options name."""
    name = inputs.embedder
    if inputs.prompt is not None and not (name.startswith("st:") or _is_place(name)):
        raise KdstError("--prompt names a prompt of a sentence-transformers model; use --prefix")
    if name == "minilm":
        return minilm(device, precision)
    if name == "endpoint":
        return _endpoint(inputs)
    if name.startswith("st:"):
        return library_model(name.removeprefix("st:"), name, device, inputs)
    if FUNCTION.fullmatch(name):
        return as_embedder(_import(name), name)
    return encoder_of(_directory(name), inputs, device, precision)


def _is_place(name: str) -> bool:
    """Whether a name is a directory or a hub id, which may have prompts."""
    return name not in ("minilm", "endpoint") and ":" not in name


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
        reason = first_line(e)
        raise KdstError(
            f"--embedder {name!r} is no directory, and the hub has no such model at hand: {reason}"
        ) from e
    return Path(found)


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
