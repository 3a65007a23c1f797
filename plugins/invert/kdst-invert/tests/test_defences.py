"""Defences do to vectors what they say, and a search is measured as it is defined."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdst_invert.attackers.filling import learned_filling
from kdst_invert.attackers.rotation import learned_rotation
from kdst_invert.defences.defence import unit
from kdst_invert.defences.lossy import Dropping, Rounding
from kdst_invert.defences.noise import Gaussian, Laplace
from kdst_invert.defences.rotation import Rotation
from kdst_invert.measures.retrieval import Queries, graded, keywords, ndcg, quality
from kdst_invert.studies.sentences import at_one_hundredth, protects


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


VECTORS = unit(torch.randn(300, 64, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("kind", [Gaussian, Laplace])
def test_noise_has_the_standard_deviation_lambda(kind: type) -> None:
    moved = kind(0.03).protect(VECTORS, generator()) - VECTORS
    assert float(moved.std()) == pytest.approx(0.03, rel=0.03)
    assert float(moved.mean()) == pytest.approx(0, abs=1e-3)


def test_laplace_noise_has_heavier_tails() -> None:
    def kurtosis(kind: type) -> float:
        moved = kind(0.1).protect(VECTORS, generator()) - VECTORS
        return float((moved**4).mean() / (moved**2).mean() ** 2)

    assert kurtosis(Gaussian) == pytest.approx(3, abs=0.3)
    assert kurtosis(Laplace) == pytest.approx(6, abs=1.2)


@given(st.sampled_from([2, 4, 8]))
@settings(max_examples=3, deadline=None)
def test_rounding_leaves_so_many_levels_and_errs_by_half_a_step(bits: int) -> None:
    kept = Rounding(bits).protect(VECTORS, generator())
    assert max(len(row.unique()) for row in kept) <= 2**bits - 1
    step = VECTORS.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert bool(((kept - VECTORS).abs() <= step / 2 + 1e-6).all())


def test_dropping_empties_the_same_share_of_dimensions_in_all_rows() -> None:
    kept = Dropping(0.75).protect(VECTORS, generator())
    empty = (kept == 0).all(0)
    assert int(empty.sum()) == 48
    torch.testing.assert_close(kept[:, ~empty], VECTORS[:, ~empty])


def test_a_rotation_keeps_every_product_and_is_learned_from_enough_pairs() -> None:
    turn = Rotation(7)
    stored = turn.protect(VECTORS, generator())
    torch.testing.assert_close(
        stored @ turn.query(VECTORS).T, VECTORS @ VECTORS.T, atol=1e-5, rtol=0
    )
    matrix = learned_rotation(VECTORS[:100], stored[:100])
    torch.testing.assert_close(stored @ matrix, VECTORS, atol=1e-4, rtol=0)
    few = learned_rotation(VECTORS[:10], stored[:10])
    assert float(torch.cosine_similarity(stored @ few, VECTORS, dim=1)[10:].mean()) < 0.6


def test_a_store_without_defence_loses_nothing() -> None:
    asked = Queries(VECTORS, torch.arange(300))
    found = quality(VECTORS, VECTORS, VECTORS, asked)
    wanted = {"recall@1": 1, "recall@10": 1, "overlap@10": 1}
    assert {n: float(v.mean()) for n, v in found.items()} == wanted


def test_recall_at_ten_counts_targets_among_the_ten_first() -> None:
    store = torch.eye(20)
    query = torch.arange(20, 0, -1.0)[None]
    for target, first, ten in ((0, 1, 1), (9, 0, 1), (10, 0, 0)):
        found = quality(store, store, query, Queries(query, torch.tensor([target])))
        assert (float(found["recall@1"]), float(found["recall@10"])) == (first, ten)


def test_queries_of_texts_are_their_rarest_words_in_order() -> None:
    texts = ["the cat sat on the old mat", "the dog sat on the old rug", "the owl", "北京医院很大"]
    found = keywords(texts)
    assert found[0].split() == ["cat", "sat", "mat"]
    assert found[2] == "owl"
    assert len(found[3].split()) == 3


def test_ndcg_is_that_of_its_definition() -> None:
    relevance = torch.tensor([[2.0, 0, 1, 0]])
    top = torch.tensor([[1, 0, 2]])
    ideal = 3 + 1 / math.log2(3)
    assert float(ndcg(relevance, top)) == pytest.approx((3 / math.log2(3) + 0.5) / ideal)


def test_grades_are_two_for_the_note_and_one_for_its_condition() -> None:
    fields = [{"condition": "gout"}, {"condition": "asthma"}, {"condition": "gout"}]
    assert graded(fields).tolist() == [[2, 0, 1], [0, 2, 0], [1, 0, 2]]


def row(scale: float, attacker: str, names: float, recall: float = 1.0) -> dict[str, object]:
    """A row of the study."""
    return {
        "defence": "gaussian",
        "scale": scale,
        "attacker": attacker,
        "leakage": {"names": [names, names - 0.02, names + 0.02]},
        "retrieval": {"recall@1": [recall] * 3, "overlap@10": [recall] * 3},
    }


@pytest.mark.parametrize(
    ("left", "said"),
    [(0.9, "does not stop this attacker"), (0.4, "weakens"), (0.02, "stops this attacker")],
)
def test_the_sentence_about_one_hundredth_follows_from_the_figures(left: float, said: str) -> None:
    found = at_one_hundredth([row(0.0, "clean", 1.0), row(0.01, "clean", left)])
    assert said in found[0]
    assert f"{left:.0%}" in found[0]


def test_the_smallest_lambda_that_protects_counts_both_attackers() -> None:
    rows = [row(0.01, "clean", 0.0), row(0.01, "adaptive", 0.5)]
    assert "No λ tried" in protects(rows)[0]
    rows += [row(0.1, "clean", 0.0, 0.8), row(0.1, "adaptive", 0.01, 0.8)]
    assert "is 0.1" in protects(rows)[0]
    assert "80.0%" in protects(rows)[0]


def test_noise_is_relative_to_the_mean_length() -> None:
    e = unit(torch.randn(50, 16, generator=torch.Generator().manual_seed(0)))
    for defence in (Gaussian(0.1), Laplace(0.1)):
        short = defence.protect(e, torch.Generator().manual_seed(1))
        long = defence.protect(20 * e, torch.Generator().manual_seed(1))
        assert torch.allclose(long / 20, short, atol=1e-5)


def test_dropped_coordinates_are_filled_in_from_known_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    e = unit(torch.randn(200, 8, generator=generator) @ torch.randn(8, 32, generator=generator))
    stored = Dropping(0.5).protect(e, generator)
    matrix, left = learned_filling(e[50:], stored[50:])
    filled = stored[:50] @ matrix
    assert left < 0.01
    assert torch.nn.functional.cosine_similarity(filled, e[:50]).min() > 0.99


def test_a_store_that_lost_nothing_is_left_as_it_is() -> None:
    e = unit(torch.randn(20, 8, generator=torch.Generator().manual_seed(0)))
    matrix, left = learned_filling(e, e)
    assert torch.equal(matrix, torch.eye(8))
    assert left == 0


def test_a_coarse_rounding_that_changes_much_is_undone_from_zero_not_from_the_identity() -> None:
    generator = torch.Generator().manual_seed(0)
    e = unit(torch.randn(300, 6, generator=generator) @ torch.randn(6, 32, generator=generator))
    stored = Rounding(2).protect(e, generator)
    matrix, left = learned_filling(e[50:], stored[50:])
    alike = torch.nn.functional.cosine_similarity
    assert alike(stored[:50] @ matrix, e[:50]).mean() > alike(stored[:50], e[:50]).mean() + 0.1
    error = (stored[:50] @ matrix - e[:50]).square().mean().sqrt()
    assert left == pytest.approx(float(error), rel=0.2)
    assert (stored[:50] @ matrix - e[:50]).norm() < 0.6 * (stored[:50] - e[:50]).norm()
