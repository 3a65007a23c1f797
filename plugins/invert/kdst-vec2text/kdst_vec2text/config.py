"""What `config.json` says of a checkpoint, and the shape of a T5 read from its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from kdst_core.errors import KdstError

if TYPE_CHECKING:
    from torch import Tensor

T5 = "encoder_decoder."
DEFAULT_LENGTH = 32


@frozen
class CheckpointConfig:
    """One network of an inverter; the first five names are those of the official `config.json`.

    t5: fields of the T5 that differ from what the weights' shapes say. normalised: whether the
    embedder's vectors have length 1, None where it is not known. masked_start: whether a corrector's
    x̂ begins with the masked start token; None: as the official ones, unless `t5` shows that a fit wrote
    this.
    """

    num_repeat_tokens: int = 16
    model_name_or_path: str = ""
    embedder_model_name: str = ""
    embedder_model_api: str | None = None
    max_seq_length: int = DEFAULT_LENGTH
    embedder_dimension: int | None = None
    normalised: bool | None = None
    t5: Mapping[str, Any] = field(factory=dict)
    masked_start: bool | None = None

    @property
    def starts(self) -> bool:
        """Whether a corrector's x̂ begins with the masked start token."""
        return not self.t5 if self.masked_start is None else self.masked_start

    @classmethod
    def read(cls, path: Path) -> "CheckpointConfig":
        """Read `config.json`, leaving fields of other programs alone; KdstError when it is broken."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise KdstError(f"cannot read {path}: {e}") from e
        if not isinstance(content, dict):
            raise KdstError(f"{path} must hold a JSON object")
        known = {name: content[name] for name in FIELDS if content.get(name) is not None}
        return cls(**known).checked(path)

    def checked(self, path: Path) -> "CheckpointConfig":
        """Raise KdstError for a value that cannot be."""
        for name in ("num_repeat_tokens", "max_seq_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise KdstError(f"{path}: {name} must be a positive whole number, not {value!r}")
        return self

    def completed(self, state: "Mapping[str, Tensor]") -> "CheckpointConfig":
        """Add to `t5` what the shapes of a state dict say; fields already given stay."""
        return evolve(self, t5={**t5_shape(state), **self.t5})


FIELDS = tuple(a.name for a in CheckpointConfig.__attrs_attrs__)


def t5_shape(state: "Mapping[str, Tensor]") -> dict[str, Any]:
    """The fields of a T5 configuration that the shapes of its weights determine."""
    block = "block.0.layer.0.SelfAttention."
    shared = _needed(state, T5 + "shared.weight")
    bias = _needed(state, f"{T5}encoder.{block}relative_attention_bias.weight")
    query = _needed(state, f"{T5}encoder.{block}q.weight")
    feed = f"{T5}encoder.block.0.layer.1.DenseReluDense."
    gated = feed + "wi_0.weight" in state
    inner = _needed(state, feed + ("wi_0.weight" if gated else "wi.weight"))
    head = state.get(T5 + "lm_head.weight")
    tied = head is None or (head.shape == shared.shape and bool((head == shared).all()))
    return {
        "vocab_size": shared.shape[0],
        "d_model": shared.shape[1],
        "num_heads": bias.shape[1],
        "relative_attention_num_buckets": bias.shape[0],
        "d_kv": query.shape[0] // bias.shape[1],
        "d_ff": inner.shape[0],
        "num_layers": _blocks(state, "encoder"),
        "num_decoder_layers": _blocks(state, "decoder"),
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": tied,
    }


def _blocks(state: "Mapping[str, Tensor]", stack: str) -> int:
    """How many layers a stack has."""
    prefix = f"{T5}{stack}.block."
    numbers = {int(n[len(prefix) :].split(".")[0]) for n in state if n.startswith(prefix)}
    return max(numbers, default=-1) + 1


def _needed(state: "Mapping[str, Tensor]", name: str) -> "Tensor":
    """A weight, or KdstError that names it."""
    if name not in state:
        raise KdstError(f"the checkpoint has no weight {name!r}; is it a Vec2Text model?")
    return state[name]
