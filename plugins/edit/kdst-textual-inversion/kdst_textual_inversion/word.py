"""A word that a text encoder did not have: one more row beside its table of embeddings."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdst_core.errors import KdstError
from kdst_core.files import write_atomically


class OneMoreWord(nn.Module):
    """A table of embeddings with one vector (D,) more, for the first id after its own."""

    def __init__(self, table: Any, vector: Tensor) -> None:
        super().__init__()
        self.table = table
        self.vector = nn.Parameter(vector.detach().clone().to(table.weight))

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings (..., D) of ids (...)."""
        last = self.table.num_embeddings - 1
        known: Tensor = self.table(ids.clamp(max=last))
        return torch.where((ids > last)[..., None], self.vector, known)


def initial_vector(pipeline: Any, word: str) -> Tensor:
    """The embedding (D,) of a known word, the mean over its tokens; KdstError for an unknown one."""
    tokenizer = pipeline.tokenizer
    ids = tokenizer(word, add_special_tokens=False).input_ids
    if not ids or (tokenizer.unk_token_id in ids and word != tokenizer.unk_token):
        raise KdstError(f"--initial {word!r} is no word of this model; give one that it knows")
    table = pipeline.text_encoder.get_input_embeddings()
    vector: Tensor = table.weight[ids].detach().mean(0)
    return vector


@contextmanager
def spoken(pipeline: Any, word: str, vector: Tensor) -> Iterator[OneMoreWord]:
    """While this lasts, `word` in a prompt is one token with the embedding `vector` (D,).

    Raises KdstError when the word is known already or cannot be one token. On leaving, tokenizer and
    text encoder are those from before.
    """
    if getattr(pipeline, "text_encoder_2", None) is not None:
        raise KdstError(
            "this model has two text encoders; a new word can be learned for one only, as in Stable"
            " Diffusion 1 and 2"
        )
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder
    table = encoder.get_input_embeddings()
    if word != word.strip() or len(word.split()) != 1:
        raise KdstError(f"--word {word!r} must be one word without spaces, such as <new>")
    more = copy.deepcopy(tokenizer)
    if not more.add_tokens([word]) or more.convert_tokens_to_ids(word) != table.num_embeddings:
        raise KdstError(
            f"--word {word!r} is a word of this model already; give another, such as <new>"
        )
    _check_width(vector, table)
    added = OneMoreWord(table, vector)
    try:
        pipeline.tokenizer = more
        encoder.set_input_embeddings(added)
        yield added
    finally:
        encoder.set_input_embeddings(table)
        pipeline.tokenizer = tokenizer


def _check_width(vector: Tensor, table: Any) -> None:
    """Raise KdstError for a vector of another model."""
    if vector.shape != table.weight.shape[1:]:
        raise KdstError(
            f"the learned word has {vector.numel()} numbers, this model's words have"
            f" {table.weight.shape[1]}; it was learned for another model"
        )


def save(path: Path, word: str, vector: Tensor) -> None:
    """Write a learned word to a safetensors file, all or nothing."""
    from safetensors.torch import save as to_bytes

    tensors = {"vector": vector.detach().float().cpu().contiguous()}
    write_atomically(path, to_bytes(tensors, {"word": word}))


def read(path: Path) -> Tensor:
    """The vector (D,) of a file that `save` wrote; KdstError for any other file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        vector = load_file(path)["vector"]
    except (OSError, SafetensorError, KeyError) as e:
        raise KdstError(f"--learned {path} is no learned word (word.safetensors of a run)") from e
    return vector
