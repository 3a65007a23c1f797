"""The linear map: least squares, kept whole, and only for its own embedder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdst_bow.lexicon import FILE, fit, load
from kdst_core.errors import KdstError


def test_the_weights_are_those_of_ridge_regression_in_float64(toy: Any, embed: Any) -> None:
    texts = toy.sentences(60)
    e = embed(texts)
    found = fit(texts, e, "sums", 8, 0.5)
    x = np.concatenate([e.double().numpy(), np.ones((60, 1))], 1)
    y = np.array([[float(w in t.split()) for w in found.words] for t in texts])
    # ridge as plain least squares, with √λ I below X and zeros below Y
    longer = np.concatenate([x, np.sqrt(0.5) * np.eye(x.shape[1])])
    solved = np.linalg.lstsq(longer, np.concatenate([y, np.zeros((x.shape[1], 8))]), rcond=None)[0]
    np.testing.assert_allclose(found.weights.numpy(), solved[:-1], atol=1e-6)
    np.testing.assert_allclose(found.bias.numpy(), solved[-1], atol=1e-6)
    np.testing.assert_allclose(found.frequency.numpy(), y.mean(0), atol=1e-7)


def test_a_word_counts_once_a_text_and_in_lower_case(embed: Any) -> None:
    found = fit(["Tea tea TEA", "tea and iron"], embed(["tea", "tea iron"]), "sums", 10, 1.0)
    assert found.words[0] == "tea"
    assert float(found.frequency[0]) == 1.0
    assert sorted(found.words) == ["and", "iron", "tea"]


def test_a_lexicon_is_read_as_it_was_written(toy: Any, embed: Any, tmp_path: Path) -> None:
    texts = toy.sentences(20)
    made = fit(texts, embed(texts), "sums", 10, 1.0)
    made.save(tmp_path / "m")
    again = load(str(tmp_path / "m"))
    assert (again.words, again.embedder, again.texts) == (made.words, "sums", made.texts)
    assert torch.equal(again.weights, made.weights)
    assert [p.name for p in (tmp_path / "m").iterdir()] == [FILE]


def test_another_embedder_or_length_is_refused_in_words(toy: Any, embed: Any) -> None:
    texts = toy.sentences(20)
    made = fit(texts, embed(texts), "sums", 10, 1.0)
    with pytest.raises(KdstError, match="does not belong to this lexicon"):
        made.check(torch.zeros(2, 48), toy.Sums(seed=7), asked=True)
    with pytest.raises(KdstError, match="the embeddings have 12 numbers, the lexicon reads 48"):
        made.check(torch.zeros(2, 12), embed, asked=True)
    before = len(embed.asked)
    made.check(torch.zeros(2, 48), embed, asked=False)
    assert len(embed.asked) == before


@pytest.mark.parametrize("content", [b"", b"not safetensors"])
def test_a_damaged_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(KdstError, match="cannot read"):
        load(str(tmp_path))
    with pytest.raises(KdstError, match="there is no"):
        load(str(tmp_path / "nothing"))


def test_texts_without_words_cannot_be_fitted(embed: Any) -> None:
    with pytest.raises(KdstError, match="no words"):
        fit(["...", "!"], torch.eye(2, 48), "sums", 10, 1.0)
