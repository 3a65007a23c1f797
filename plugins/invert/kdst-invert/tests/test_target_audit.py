"""Vectors that are not those of the texts are refused, those made otherwise are warned of."""

from typing import Any

import pytest
import torch

from kdst_core.errors import KdstError
from kdst_invert.audit import check_pairs, sample

TEXTS = [f"note {i} of patient {i * i} in ward {i % 3}" for i in range(40)]


@pytest.fixture
def vectors(hash_embedder: Any) -> torch.Tensor:
    """The texts' own vectors."""
    return hash_embedder(TEXTS)


def test_vectors_of_the_texts_need_no_word(hash_embedder: Any, vectors: torch.Tensor) -> None:
    hash_embedder.asked.clear()
    assert check_pairs(TEXTS, vectors, hash_embedder) == []
    assert len(hash_embedder.asked) == 16
    assert check_pairs(TEXTS[:1], vectors[:1], hash_embedder) == []


@pytest.mark.parametrize("moved", [1, 39])
def test_rows_in_another_order_are_refused(
    hash_embedder: Any, vectors: torch.Tensor, moved: int
) -> None:
    with pytest.raises(KdstError, match="in another order than the texts: of 16 texts"):
        check_pairs(TEXTS, vectors.roll(moved, 0), hash_embedder)


def test_a_single_exchange_in_the_sample_is_seen(hash_embedder: Any, vectors: torch.Tensor) -> None:
    vectors[[0, 1]] = vectors[[1, 0]]
    with pytest.raises(KdstError, match="1 have their vector in another row"):
        check_pairs(TEXTS, vectors, hash_embedder)


def test_vectors_of_something_else_are_refused(hash_embedder: Any, vectors: torch.Tensor) -> None:
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    for foreign in (drawn, vectors.flip(1), (vectors + 0.1 * drawn).roll(3, 0)):
        with pytest.raises(KdstError, match=r"do not belong to the texts|another order"):
            check_pairs(TEXTS, foreign, hash_embedder)


def test_noise_is_warned_of(hash_embedder: Any, vectors: torch.Tensor) -> None:
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    (said,) = check_pairs(TEXTS, vectors + 0.1 * drawn, hash_embedder)
    assert "not the same" in said


def test_equal_texts_are_no_other_order(hash_embedder: Any) -> None:
    texts = ["the same note"] * 5
    assert check_pairs(texts, hash_embedder(texts), hash_embedder) == []


def test_a_sample_is_spread_over_all_rows() -> None:
    assert sample(3) == [0, 1, 2]
    assert sample(160) == list(range(0, 160, 10))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_rows_are_not_taken_on_trust(
    hash_embedder: Any, vectors: torch.Tensor, count: int
) -> None:
    drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    some, noisy = vectors[:count], vectors[:count] + 0.05 * drawn[:count]
    assert "not the same" in check_pairs(TEXTS[:count], noisy, hash_embedder)[0]
    far = torch.nn.functional.normalize(some + 0.9 * drawn[:count], dim=1)
    assert 0.05 < float((far * some).sum(1).min()) < 0.5
    with pytest.raises(KdstError, match="do not belong to the texts"):
        check_pairs(TEXTS[:count], far, hash_embedder)
