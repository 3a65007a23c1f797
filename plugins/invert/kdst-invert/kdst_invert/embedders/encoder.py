"""Any transformers encoder as an embedder: explicit pooling, batches of texts of one length."""

# mypy: disable-error-code="no-untyped-call"
# transformers leaves these calls untyped

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from attrs import field, frozen
from torch import Tensor

from kdst_core.errors import KdstError, first_line
from kdst_invert.embedders.precision import Precision as Precision
from kdst_invert.embedders.precision import Settled, settled

Pooling = Literal[
    "mean", "cls", "pooler", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"
]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
BATCH = 64


@frozen
class Encoder:
    """Texts to vectors by a transformers encoder.

    pooling: mean of all tokens' last hidden states, that of the first token (cls), or the model's own
    pooler, and the others of sentence-transformers; vectors of several are joined. longest: tokens
    that are read of a text, the rest is cut as the model's makers do. lower: texts are made lower case
    first. precision: of products; norms, sums and pooling stay in float32. prompt: what its makers put
    before every text, not put there by itself. said: what a user must know.
    """

    name: str
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    dimension: int
    normalised: bool
    pooling: tuple[Pooling, ...]
    longest: int
    precision: Settled = "float32"
    lower: bool = False
    prompt: str = ""
    said: tuple[str, ...] = ()

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (n, D) float32 on the CPU."""
        if not texts:
            return torch.empty(0, self.dimension)
        read = [text.lower() if self.lower else text for text in texts]
        found = self.tokenizer(read, truncation=True, max_length=self.longest)["input_ids"]
        vectors = torch.empty(len(texts), self.dimension)
        for rows in same_length(found, BATCH):
            ids = torch.tensor([found[i] for i in rows], device=self.model.device)
            vectors[rows] = self._vectors(ids).float().cpu()
        return torch.nn.functional.normalize(vectors, dim=1) if self.normalised else vectors

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, those that the tokeniser adds included."""
        return [len(ids) for ids in self.tokenizer(list(texts))["input_ids"]]

    def _vectors(self, ids: Tensor) -> Tensor:
        """One vector of each row of token ids without padding."""
        fast = self.precision == "bfloat16"
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=fast):
            output = self.model(input_ids=ids, attention_mask=torch.ones_like(ids))
        return torch.cat([_pooled(output, kind) for kind in self.pooling], dim=1)


def _pooled(output: Any, kind: Pooling) -> Tensor:
    """The vectors (B, D) of one pooling of rows without padding."""
    if kind == "pooler":
        pooled: Tensor = output.pooler_output
        return pooled
    hidden: Tensor = output.last_hidden_state
    if kind in ("cls", "lasttoken"):
        return hidden[:, 0 if kind == "cls" else -1]
    hidden, length = hidden.float(), hidden.shape[1]
    if kind == "max":
        return hidden.amax(1)
    if kind == "weightedmean":
        weights = torch.arange(1.0, length + 1, device=hidden.device)
        return (hidden * weights[:, None]).sum(1) / weights.sum()
    return hidden.mean(1) if kind == "mean" else hidden.sum(1) / length**0.5


def same_length(ids: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Places of rows of one length, at most so many at a time; needs no padding."""
    rows: list[int] = []
    for i in sorted(range(len(ids)), key=lambda i: len(ids[i])):
        if rows and (len(rows) == most or len(ids[i]) != len(ids[rows[0]])):
            yield rows
            rows = []
        rows.append(i)
    yield rows


def load_encoder(
    directory: Path,
    *,
    name: str,
    pooling: Pooling | tuple[Pooling, ...],
    normalised: bool,
    device: str = "cpu",
    precision: Precision = "auto",
    longest: int | None = None,
    lower: bool = False,
) -> Encoder:
    """Load the encoder that transformers saved in a directory.

    The encoder half of a T5 is used where the model is one. Raises KdstError where nothing there can
    be loaded, or where the model has no pooler and one is asked for.
    """
    from kdst_core.bench.libraries import silence_libraries

    poolings: tuple[Pooling, ...] = (pooling,) if isinstance(pooling, str) else pooling
    with silence_libraries():
        model, tokenizer = _load(directory)
    if "pooler" in poolings and getattr(model, "pooler", None) is None:
        raise KdstError(f"{directory} has no pooler; choose --pooling mean or cls")
    model = model.eval().requires_grad_(False).to(device, torch.float32)
    known = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
    return Encoder(
        name=name,
        model=model,
        tokenizer=tokenizer,
        dimension=int(model.config.hidden_size) * len(poolings),
        normalised=normalised,
        pooling=poolings,
        longest=min(longest or known, known),
        precision=settled(precision, device),
        lower=lower,
    )


def _load(directory: Path) -> tuple[Any, Any]:
    """The model and its tokeniser; KdstError says what is missing."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer, T5EncoderModel

    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        loader = T5EncoderModel if config.model_type == "t5" else AutoModel
        model = loader.from_pretrained(directory, local_files_only=True, use_safetensors=None)
        return model, AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, ImportError) as e:
        reason = first_line(e)
        raise KdstError(f"{directory} holds no encoder that transformers can load: {reason}") from e
