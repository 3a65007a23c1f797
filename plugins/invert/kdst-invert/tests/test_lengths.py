"""Texts that are too long are counted in tokens, of the method and of the embedder."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from kdst_invert.measures.lengths import too_long

TEXTS = ["a b c", "abcdefgh"]


@pytest.fixture
def letters(tmp_path: Path) -> str:
    """A tokeniser that takes every letter for a token."""
    found = Tokenizer(models.WordLevel({c: i for i, c in enumerate("?abcdefgh")}, unk_token="?"))
    found.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    found.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def encoder(longest: int) -> Any:
    """An embedder of one token a character."""
    return SimpleNamespace(longest=longest, lengths=lambda texts: [len(t) for t in texts])


def test_the_methods_own_tokens_count(letters: str) -> None:
    (said,) = too_long(TEXTS, 6, letters, SimpleNamespace())  # type: ignore[arg-type]
    assert said.startswith("1 of 2 texts have more tokens than the 6 tokens")


def test_without_them_those_of_the_embedder_and_then_words_count() -> None:
    (said,) = too_long(TEXTS, 6, None, encoder(99))
    assert said.startswith("1 of 2 texts have more of the embedder's tokens")
    (said,) = too_long(TEXTS, 2, None, SimpleNamespace())  # type: ignore[arg-type]
    assert said.startswith("1 of 2 texts have more words")
    assert too_long(TEXTS, None, None, SimpleNamespace()) == []  # type: ignore[arg-type]


def test_what_the_embedder_did_not_read_is_said() -> None:
    (said,) = too_long(TEXTS, None, None, SimpleNamespace(inner=encoder(5)))  # type: ignore[arg-type]
    assert said.startswith("1 of 2 texts have more tokens than the 5 that the embedder reads")
