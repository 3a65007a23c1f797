"""Tokenisers: the one beside a checkpoint, or a small one made from the texts of a fit."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from kdst_core.errors import KdstError

PAD, EOS = 0, 1
FILE = "tokenizer.json"


class Tokens:
    """Texts to token ids that end in eos, padded with 0, and back."""

    def __init__(self, tokenizer: Tokenizer, file: Path | None = None) -> None:
        self.tokenizer = tokenizer
        self.file = None if file is None else str(file.absolute())

    @property
    def size(self) -> int:
        """Number of tokens."""
        return int(self.tokenizer.get_vocab_size())

    def ids(self, texts: Sequence[str], longest: int) -> list[list[int]]:
        """Token ids of each text, cut to `longest` with eos at the end."""
        found = self.tokenizer.encode_batch(list(texts))
        return [[*[i for i in f.ids if i != EOS][: longest - 1], EOS] for f in found]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each whole text, eos included."""
        found = self.tokenizer.encode_batch(list(texts))
        return [len([i for i in f.ids if i != EOS]) + 1 for f in found]

    def texts(self, ids: Iterable[Sequence[int]]) -> list[str]:
        """The texts of token ids, each up to its first eos."""
        cut = [row[: row.index(EOS)] if EOS in row else row for row in map(list, ids)]
        decoded = self.tokenizer.decode_batch(cut, skip_special_tokens=True)
        return [text.strip() for text in decoded]


def padded(rows: Sequence[Sequence[int]], fill: int = PAD) -> Tensor:
    """Token ids as one (B, T) tensor, filled up at the end."""
    width = max(map(len, rows), default=1)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])


def train_tokens(texts: Iterable[str], size: int) -> Tokens:
    """A byte-level BPE of at most `size` tokens, with pad 0 and eos 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return Tokens(tokenizer)


def load_tokens(directory: Path, name: str) -> Tokens:
    """The tokeniser in a checkpoint's directory, or that of the T5 it was made from.

    Raises KdstError where neither is at hand.
    """
    if (directory / FILE).exists():
        try:
            return Tokens(_bare(Tokenizer.from_file(str(directory / FILE))), directory / FILE)
        except Exception as e:
            raise KdstError(f"cannot read {directory / FILE}: {e}") from e
    from transformers import AutoTokenizer

    source = str(directory) if (directory / "spiece.model").exists() else name
    if not source:
        raise KdstError(f"{directory} has no {FILE}, and its config.json names no model")
    try:
        fast = AutoTokenizer.from_pretrained(source)
    except Exception as e:
        raise KdstError(
            f"{directory} has no {FILE}, and the tokeniser of {source!r} cannot be loaded.\n"
            f"Put the {FILE} of {source!r} into the directory"
        ) from e
    return Tokens(_bare(fast.backend_tokenizer))


def _bare(tokenizer: Tokenizer) -> Tokenizer:
    """A tokeniser without padding and truncation of its own."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
