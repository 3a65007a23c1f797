"""What a fit starts from: a new T5, a T5 that was trained before, or an inverter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from tokenizers import Tokenizer
from transformers import T5Config, T5ForConditionalGeneration

from kdst_core.errors import KdstError, first_line
from kdst_core.files import whole_file
from kdst_vec2text.models import Corrector, Hypothesiser, t5_config
from kdst_vec2text.pair import HYPOTHESISER, Vec2Text, load_corrector
from kdst_vec2text.tokens import FILE, Tokens, load_tokens, train_tokens


@frozen
class Origin:
    """tokens: the vocabulary. t5: shape of both networks' T5. k: pseudo-tokens.

    name: of the T5 that `weights` come from. begun: an inverter to go on from.
    """

    tokens: Tokens
    t5: T5Config
    k: int
    name: str = ""
    weights: Mapping[str, torch.Tensor] | None = None
    begun: Vec2Text | None = None

    def hypothesiser(self, dimension: int, seed: int) -> Hypothesiser:
        """The untrained hypothesiser of vectors of `dimension` numbers."""
        if self.begun is not None:
            return self.begun.hypothesiser
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Hypothesiser(self.t5, dimension, self.k)
        if self.weights is not None:
            network.encoder_decoder.load_state_dict(self.weights)
        return network

    def corrector(self, trained: Hypothesiser, seed: int, *, warm: bool) -> Corrector:
        """The untrained corrector; warm: its T5 and T₁ are those of the trained hypothesiser."""
        if self.begun is not None and self.begun.corrector is not None:
            return self.begun.corrector
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Corrector(self.t5, trained.dimension, self.k)
        if warm or self.begun is not None:
            network.encoder_decoder.load_state_dict(trained.encoder_decoder.state_dict())
            first = network.get_submodule("embedding_transform_1")
            first.load_state_dict(trained.embedding_transform.state_dict())
        elif self.weights is not None:
            network.encoder_decoder.load_state_dict(self.weights)
        return network


def origin(
    base: str,
    texts: Sequence[str],
    *,
    t5: Mapping[str, Any],
    vocabulary: int,
    k: int,
    work: Path,
) -> Origin:
    """What `base` names; `small` is a new T5 of shape `t5` with a vocabulary of the texts.

    Raises KdstError when it cannot be loaded.
    """
    if base == "small":
        tokens = _vocabulary(texts, vocabulary, work / FILE)
        return Origin(tokens, t5_config({**t5, "vocab_size": tokens.size}), k)
    if base == "tiny" or (Path(base) / HYPOTHESISER).is_dir():
        begun = load_corrector(base)
        shape = begun.hypothesiser.encoder_decoder.config
        return Origin(begun.tokens, shape, begun.hypothesiser.k, begun=begun)
    try:
        model = T5ForConditionalGeneration.from_pretrained(base)
    except Exception as e:
        reason = first_line(e)
        raise KdstError(f"cannot load the T5 {base!r}: {reason}") from e
    shape = t5_config(model.config.to_dict())
    return Origin(load_tokens(Path(base), base), shape, k, base, model.state_dict())


def _vocabulary(texts: Sequence[str], size: int, path: Path) -> Tokens:
    """The vocabulary of the texts, made once."""
    if not path.exists():
        with whole_file(path) as temporary:
            train_tokens(texts, size).tokenizer.save(str(temporary))
    return Tokens(Tokenizer.from_file(str(path)))
