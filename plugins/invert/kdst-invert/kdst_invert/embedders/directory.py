"""An encoder in a directory: as sentence-transformers saved it, as MiniLM, or as the options say."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from kdst_core.contracts import Embedder
from kdst_core.errors import KdstError, first_line
from kdst_invert.embedders.encoder import Encoder, load_encoder
from kdst_invert.embedders.function import as_embedder
from kdst_invert.embedders.minilm import is_minilm, minilm
from kdst_invert.embedders.precision import Precision
from kdst_invert.embedders.saved import Saved, read_saved
from kdst_invert.inputs import InvertInputs


def encoder_of(
    directory: Path, inputs: InvertInputs, device: str, precision: Precision
) -> Embedder:
    """The embedder in a directory. Options beat what the directory says of itself."""
    saved = read_saved(directory)
    plain = inputs.pooling is None and inputs.normalise is None
    if saved is None and inputs.prompt is not None:
        raise KdstError(f"{directory} has no modules.json, so no prompts; use --prefix")
    if saved is None and plain and is_minilm(directory):
        return evolve(minilm(device, precision, directory), name=inputs.embedder)
    if saved is not None and inputs.pooling is None:
        if saved.others:
            return _by_library(directory, saved, inputs, device)
        return _as_saved(saved, inputs, device, precision)
    found = load_encoder(
        directory if saved is None else saved.encoder,
        name=inputs.embedder,
        pooling=inputs.pooling or "mean",
        normalised=bool(inputs.normalise),
        device=device,
        precision=precision,
    )
    if saved is None:
        return found
    modules = ", ".join(saved.modules)
    said = f"--pooling {inputs.pooling} was taken in place of the directory's modules ({modules})"
    return evolve(found, prompt=saved.prompt(inputs.prompt), said=(said,))


def _as_saved(saved: Saved, inputs: InvertInputs, device: str, precision: Precision) -> Encoder:
    """The encoder with the standard modules of sentence-transformers."""
    found = load_encoder(
        saved.encoder,
        name=inputs.embedder,
        pooling=saved.poolings,
        normalised=saved.normalised if inputs.normalise is None else inputs.normalise,
        device=device,
        precision=precision,
        longest=saved.longest,
        lower=saved.lower,
    )
    said = () if inputs.prefix else saved.said(inputs.prompt)
    return evolve(found, prompt=saved.prompt(inputs.prompt), said=said)


def _by_library(directory: Path, saved: Saved, inputs: InvertInputs, device: str) -> Embedder:
    """A model with modules of its own, which only sentence-transformers computes."""
    saved.prompt(inputs.prompt)
    try:
        importlib.import_module("sentence_transformers")
    except ImportError as e:
        raise KdstError(
            f"{directory} has the modules {', '.join(saved.modules)}, which need sentence-transformers:"
            " pip install sentence-transformers\nTo take its encoder alone, give --pooling"
        ) from e
    return library_model(str(directory), inputs.embedder, device, inputs)


def library_model(source: str, name: str, device: str, inputs: InvertInputs) -> Embedder:
    """A model of sentence-transformers, where that library is installed; its code alone is run."""
    try:
        library = importlib.import_module("sentence_transformers")
    except ImportError as e:
        raise KdstError(
            f"--embedder {name} needs sentence-transformers: pip install sentence-transformers"
        ) from e
    how = _asked(inputs)
    try:
        model = library.SentenceTransformer(source, device=device, trust_remote_code=False)
        return as_embedder(lambda texts: _encoded(model, texts, how), name)
    except Exception as e:
        reason = first_line(e)
        raise KdstError(f"sentence-transformers cannot load {source!r}: {reason}") from e


def _asked(inputs: InvertInputs) -> Mapping[str, Any]:
    """How the library is asked: with a prompt by name, or the model's default one."""
    if inputs.prefix:
        return {"prompt": "", "normalize_embeddings": bool(inputs.normalise)}
    return {"prompt_name": inputs.prompt, "normalize_embeddings": bool(inputs.normalise)}


def _encoded(model: Any, texts: Sequence[str], how: Mapping[str, Any]) -> Any:
    """Vectors of texts, without a bar of progress."""
    return model.encode(list(texts), convert_to_tensor=True, show_progress_bar=False, **how)
