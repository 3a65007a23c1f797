"""Rounded vectors are read back by the cells of their coordinates."""

import math

import torch

from kdst_invert.attackers.cells import SPREADS, expected, fitted, learned_cells, likelihood
from kdst_invert.attackers.filling import learned
from kdst_invert.defences.defence import unit
from kdst_invert.defences.lossy import Rounding

D = 48


def drawn(count: int, seed: int) -> torch.Tensor:
    """Vectors of length 1 of a narrow kind: of twenty directions, with little besides."""
    fixed = torch.Generator().manual_seed(1)
    directions = torch.randn(20, D, generator=fixed)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, 20, generator=generator)
    noise = 0.3 * torch.randn(count, D, generator=generator)
    return unit(weights @ directions + noise)


def rounded(e: torch.Tensor, bits: int) -> torch.Tensor:
    """Vectors as a store that rounds and normalises keeps them."""
    return unit(Rounding(bits).protect(e, torch.Generator()))


def test_the_mean_of_a_cut_normal_is_that_of_its_draws() -> None:
    draws = 0.5 + 0.2 * torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
    inside = draws[(draws > 0.6) & (draws < 0.9)].double().mean()
    one = torch.tensor([0.5], dtype=torch.float64)
    found = expected(one, 0.2, one + 0.1, one + 0.4)
    torch.testing.assert_close(found, inside[None], rtol=0, atol=1e-3)
    far = expected(one, 0.01, one + 5, one + 6)
    assert 5.5 <= float(far) <= 6.5


def test_cells_come_closer_than_regression_from_pairs_fewer_than_dimensions() -> None:
    bits, known, truth = 2, drawn(40, 0), drawn(40, 1)
    stored, pairs = rounded(truth, bits), rounded(known, bits)
    linear, _ = learned(known, pairs)
    cells = learned_cells(known, pairs, Rounding(bits), True)
    assert cells is not None
    by_cells = (unit(cells[0](stored)) * truth).sum(1).mean()
    assert by_cells > (unit(linear(stored)) * truth).sum(1).mean()
    assert by_cells > (stored * truth).sum(1).mean() + 0.02
    assert 0 < cells[1] < 0.2


def test_what_is_found_lies_in_its_cells() -> None:
    known, stored = drawn(60, 0), rounded(drawn(9, 2), 3)
    found = fitted(known, 3)
    low, high = found.bounds(stored.double())
    x = found(stored).double()
    assert bool(((x >= low - 1e-6) & (x <= high + 1e-6)).all())


def test_too_few_pairs_teach_no_covariance() -> None:
    few = drawn(12, 0)
    assert learned_cells(few, rounded(few, 2), Rounding(2), True) is None


def plain_likelihood(stored: list[float], bits: int, h: list[float]) -> float:
    """The log-likelihood coordinate by coordinate."""
    most, top = 2 ** (bits - 1) - 1, max(map(abs, stored))
    step, width = max(map(abs, h)) / most, math.sqrt(sum(x * x for x in h) / len(h))
    found = []
    for spread in SPREADS:
        total = 0.0
        for s, x in zip(stored, h, strict=True):
            level, scale = round(s / top * most), spread * width
            a = -math.inf if level <= -most else ((level - 0.5) * step - x) / scale
            b = math.inf if level >= most else ((level + 0.5) * step - x) / scale
            high, low = (below(-a), below(-b)) if a > 0 else (below(b), below(a))
            total += math.log(max(high - low, 1e-12))
        found.append(total)
    return max(found)


def below(z: float) -> float:
    """The normal distribution function."""
    return math.erfc(-z / math.sqrt(2)) / 2


def test_likelihood_of_cells_matches_a_plain_rendering_in_float64() -> None:
    for bits in (2, 3, 8):
        truth = drawn(3, bits)
        stored = rounded(truth, bits)
        e = drawn(9, 7).double()
        for row in stored:
            wanted = [plain_likelihood(row.tolist(), bits, h) for h in e.tolist()]
            found = likelihood(row, bits, e)
            torch.testing.assert_close(found.tolist(), wanted, rtol=1e-10, atol=1e-10)


def test_the_vector_behind_the_cells_is_the_likeliest() -> None:
    e = drawn(30, 4)
    for i, row in enumerate(rounded(e, 2)):
        assert int(likelihood(row, 2, e).argmax()) == i
