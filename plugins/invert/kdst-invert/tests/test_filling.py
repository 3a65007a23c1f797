"""What pairs teach of a defence, and how guesses are compared after the same defence."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_invert.attackers.filling import Curved, Linear, learned
from kdst_invert.attackers.rotation import aligned_rotation, learned_rotation
from kdst_invert.defences.defence import unit
from kdst_invert.defences.lossy import Dropping, Rounding
from kdst_invert.defences.noise import Gaussian
from kdst_invert.defences.rotation import Rotation
from kdst_invert.studies import rotated
from kdst_invert.studies.adaptive import Known, protected
from kdst_invert.studies.stage import Stage

D = 24


@pytest.fixture
def vectors() -> Tensor:
    """Vectors on a curved surface of few dimensions, as texts of one kind make them."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(260, 4, generator=generator)
    first = torch.randn(4, D, generator=generator)
    return unit(torch.tanh(hidden @ first) + 0.3 * (hidden @ first).square())


def close(a: Tensor, b: Tensor) -> float:
    """Mean cosine."""
    return float(torch.cosine_similarity(a, b, dim=1).mean())


def test_without_pairs_the_store_stays_as_it_is(vectors: Tensor) -> None:
    fill, left = learned(vectors[:0], vectors[:0])
    assert torch.equal(fill(vectors), vectors)
    assert left == 0


@pytest.mark.parametrize("defence", [Dropping(0.5), Rounding(2), Gaussian(0.1)])
def test_pairs_bring_the_store_nearer_to_what_it_was(vectors: Tensor, defence: object) -> None:
    generator = torch.Generator().manual_seed(1)
    stored = defence.protect(vectors, generator)  # type: ignore[attr-defined]
    fill, left = learned(vectors[20:], stored[20:])
    before, after = close(stored[:20], vectors[:20]), close(fill(stored[:20]), vectors[:20])
    assert after > before + 0.3 * (1 - before)
    error = float((fill(stored[:20]) - vectors[:20]).square().mean().sqrt())
    assert left == pytest.approx(error, rel=0.5)


def test_what_is_curved_is_learned_curved_and_the_unchanged_stays(vectors: Tensor) -> None:
    stored = Dropping(0.75).protect(vectors, torch.Generator())
    assert isinstance(learned(vectors, stored)[0], Curved)
    fill, left = learned(vectors[:100], vectors[:100])
    assert isinstance(fill, Linear)
    assert left < 1e-6
    assert close(fill(vectors[100:]), vectors[100:]) > 1 - 1e-6


def test_guesses_are_compared_after_the_same_defence(vectors: Tensor) -> None:
    known = Known(vectors[60:], vectors[:0])
    for defence in (Rounding(2), Dropping(0.75)):
        undoing = known.undo(defence, 0, normalised=True)
        assert undoing is not None
        assert undoing.view is not None
        seen = undoing.fill(protected(defence, vectors[:60], torch.Generator(), True))
        assert close(undoing.view(vectors[:60]), seen) == pytest.approx(1, abs=1e-6)


def test_a_secret_is_learned_from_pairs_alone(vectors: Tensor) -> None:
    assert Known(vectors[:0], vectors).undo(Rotation(), 0, normalised=True) is None
    undoing = Known(vectors[:200], vectors[:0]).undo(Rotation(), 0, normalised=True)
    assert undoing is not None
    assert undoing.view is None
    stored = Rotation().protect(vectors[200:], torch.Generator())
    assert close(undoing.fill(stored), vectors[200:]) > 0.99


def lying() -> tuple[Tensor, Tensor]:
    """Vectors of a store and of other texts of its kind, whose covariance has no equal axes."""
    drawn = torch.randn(900, D, generator=torch.Generator().manual_seed(0))
    found = unit(drawn * 0.85 ** torch.arange(D) + 0.5)
    return found[:400], found[400:]


def test_few_pairs_of_a_rotation_are_helped_by_how_own_texts_lie() -> None:
    store, own = lying()
    stored = Rotation().protect(store, torch.Generator())
    alone = stored[:300] @ learned_rotation(store[390:], stored[390:])
    matrix = aligned_rotation(store[390:], stored[390:], own, stored)
    assert close(stored[:300] @ matrix, store[:300]) > close(alone, store[:300]) + 0.02
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(D), atol=1e-4, rtol=0)


class Readable:
    """A store of texts that a reader finds by the nearest vector, and the embedder of these texts."""

    name, dimension, normalised = "readable", D, True

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return self.vectors[[int(text) for text in texts]]

    def read(self, turned: Tensor, number: int, left: float) -> list[str]:
        return [str(i) for i in (turned @ self.vectors.T).argmax(1).tolist()]


def test_a_rotation_is_found_by_reading_what_few_pairs_leave_open() -> None:
    store, own = lying()
    stored = Rotation().protect(store, torch.Generator())
    kept, pairs = slice(0, 390), slice(390, 400)
    asked = Readable(store)
    known = Known(store[pairs], own)
    found = rotated.learned(known, stored[pairs], stored[kept], asked.read, asked)
    assert close(found.fill(stored[kept]), store[kept]) > 0.999
    assert found.left < 0.01
    alone = stored[kept] @ learned_rotation(store[pairs], stored[pairs])
    assert close(alone, store[kept]) < 0.99


def test_readings_far_from_their_rows_do_not_move_a_rotation() -> None:
    store, own = lying()
    stored = Rotation().protect(store, torch.Generator())
    others = Readable(unit(torch.randn(50, D, generator=torch.Generator().manual_seed(3))))
    known = Known(store[380:], own[:0])
    found = rotated.learned(known, stored[380:], stored[:380], others.read, others)
    pairs = learned_rotation(store[380:], stored[380:])
    before = close(stored[380:] @ pairs, store[380:])
    assert close(found.fill(stored[380:]), store[380:]) > before - 0.01
    assert found.left > 0.1


def test_as_many_pairs_as_dimensions_need_no_reading() -> None:
    store, own = lying()
    stored = Rotation().protect(store, torch.Generator())

    def nobody(*_: object) -> list[str]:
        raise AssertionError("read")

    found = rotated.learned(Known(store[:D], own), stored[:D], stored[D:], nobody, Readable(store))
    assert close(found.fill(stored), store) > 1 - 1e-5


def test_few_pairs_are_the_first_or_none(vectors: Tensor) -> None:
    known = Known(vectors[:3], vectors[3:8])
    few = known.few(5)
    assert few is not None
    assert torch.equal(few.pairs, vectors[:5])
    assert few.count == 5
    assert known.few(9) is None


def a_stage(vectors: Tensor, better: int, asked: list[str], monkeypatch: Any) -> Stage:
    """A store whose reader sees the judged rows right in one of two ways and another row in the other."""
    by_text = {str(i): v for i, v in enumerate(vectors)}

    class Embed:
        normalised = True

        def __call__(self, texts: Sequence[str]) -> Tensor:
            return torch.stack([by_text[text] for text in texts])

    def read(_: Stage, name: str, seen: Tensor, number: int, left: float) -> list[str]:
        asked.append(f"{name}-{number}")
        first = len(vectors) - len(seen) if number == better else 0
        return [str(first + i) for i in range(len(seen))]

    monkeypatch.setattr(Stage, "read", read)
    prepared: Any = SimpleNamespace(embed=Embed(), target=SimpleNamespace(vectors=vectors))
    run: Any = SimpleNamespace(seed=0)
    nothing: Any = None
    return Stage(prepared, nothing, run, nothing, nothing)


@pytest.mark.parametrize("better", [0, 1])
def test_a_map_is_kept_only_where_known_texts_are_read_better_with_it(
    vectors: Tensor, better: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    stage = a_stage(vectors, better, asked, monkeypatch)
    found = stage.undo(Rounding(2), Known(vectors, vectors[:0]))
    assert found is not None
    assert torch.equal(found.fill(vectors), vectors) == (better == 1)
    assert asked == [f"judging-rounding-int2-260-0-{number}" for number in (0, 1)]
    assert found.view is not None
    assert found.left > 0


def test_from_too_few_pairs_to_judge_by_the_map_is_kept(
    vectors: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    stage = a_stage(vectors, 1, asked, monkeypatch)
    found = stage.undo(Rounding(2), Known(vectors[:12], vectors[:0]))
    assert found is not None
    assert not torch.equal(found.fill(vectors), vectors)
    assert not asked
