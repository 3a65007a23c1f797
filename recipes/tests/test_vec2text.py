"""The recipe of the embedded inverter: its stages, and what it goes on from."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from kdst_core.errors import KdstError
from kdst_invert.default.notes import notes
from kdst_vec2text.examples import Examples, Ragged
from kdst_vec2text.models import Corrector, Hypothesiser
from recipes.vec2text import __main__ as train
from recipes.vec2text import pool, stages
from recipes.vec2text.recipe import Recipe

SMALL = Recipe(
    notes=4,
    copies=1,
    early=4,
    vocabulary=300,
    width=32,
    inner=32,
    layers=1,
    k=2,
    batch=4,
    early_epochs=1,
    epochs=1,
    near=6,
    families=2,
    guessed=2,
    beam=2,
    mixed=2,
)


class Letters:
    """Unit vectors that say which letters a text has."""

    name, dimension, normalised = "letters", 24, True

    def __call__(self, texts: Sequence[str]) -> Tensor:
        rows = [[1.0 + text.lower().count(chr(97 + i)) for i in range(24)] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stages.Workshop:
    """A workshop with few notes and an embedder that counts letters."""
    monkeypatch.setattr(pool, "CHUNK", 4)
    monkeypatch.setattr(stages, "CHUNK", 4)
    monkeypatch.setattr(stages, "VALIDATION", 4)
    return stages.Workshop(tmp_path, SMALL, Letters())


def test_a_family_pairs_each_text_with_the_others_but_itself() -> None:
    texts = ["a", "b", "c", "d", "d", "e"]
    pairs = pool.family_pairs(texts, 3, range(1, 3))
    assert sorted(pairs) == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (3, 5), (4, 5), (5, 3), (5, 4),
    ]  # fmt: skip


def test_training_runs_to_the_end_and_goes_on_from_its_files(shop: stages.Workshop) -> None:
    first = stages.hypothesiser(shop)
    second = stages.corrector(shop)
    assert isinstance(first, Hypothesiser)
    assert isinstance(second, Corrector)
    (shop.out / "corrector-1.pt").unlink()
    before = {n: v.clone() for n, v in second.state_dict().items()}
    again = stages.corrector(shop)
    assert all(torch.equal(v, before[n]) for n, v in again.state_dict().items())


def test_guesses_with_a_held_out_name_are_left_out(
    shop: stages.Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = notes("held-out", 1)[0].text
    texts, _ = shop.families.load(SMALL.families, lambda total, label: _quiet())
    made = [texts[0], "something else", held, "another text"]
    monkeypatch.setattr(stages, "likeliest", lambda network, shop, e: made)
    network = shop.network(Hypothesiser, shop.tokens())
    assert isinstance(network, Hypothesiser)
    own, _, guessed, _, source = stages.close_pairs(shop, network)
    assert held not in guessed
    places = [i for i, text in enumerate(guessed) if text in made[1:]]
    assert [guessed[i] for i in places] == ["something else", "another text"]
    assert [own[source[i]] for i in places] == [texts[0], texts[4]]


def test_embeddings_are_computed_once(shop: stages.Workshop) -> None:
    texts, e = shop.pool.load(4, lambda total, label: _quiet())
    files = {f: f.stat().st_mtime_ns for f in (shop.out / "embeddings").iterdir()}
    again_texts, again = shop.pool.load(4, lambda total, label: _quiet())
    assert texts == again_texts
    assert torch.equal(e, again)
    torch.testing.assert_close(e, Letters()(texts))
    assert files == {f: f.stat().st_mtime_ns for f in (shop.out / "embeddings").iterdir()}


def _quiet() -> Any:
    from kdst_core.progress import progress

    return progress(1, "", "quiet")


def test_a_warm_corrector_reads_the_embedding_as_the_hypothesiser_does(
    shop: stages.Workshop,
) -> None:
    tokens = shop.tokens()
    first, second = shop.network(Hypothesiser, tokens), shop.network(Corrector, tokens)
    stages.warm(second, first)  # type: ignore[arg-type]
    e = torch.randn(3, shop.embed.dimension)
    left = first.get_submodule("embedding_transform")(e)
    torch.testing.assert_close(second.get_submodule("embedding_transform_1")(e), left)


def test_two_processes_at_one_stage_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FileLock(tmp_path / ".embed.lock"):
        assert train.main([str(tmp_path), "--stage", "embed"]) == 2
    assert "another process" in capsys.readouterr().err


def test_a_changed_recipe_is_refused(tmp_path: Path) -> None:
    train.check_recipe(tmp_path / "recipe.json", Recipe())
    with pytest.raises(KdstError, match="batch 32 -> 64"):
        train.check_recipe(tmp_path / "recipe.json", Recipe(batch=64))
    with pytest.raises(KdstError, match="--batch must be at least 1"):
        Recipe(batch=0)


def test_pairs_are_examples_of_their_texts(shop: stages.Workshop) -> None:
    tokens = shop.tokens()
    found = stages.pair_examples(tokens, shop.held_out())
    assert isinstance(found, Examples)
    assert isinstance(found.x_hat, Ragged)
    assert len(found) == 4


def test_training_leaves_small_numbers_to_the_process(tmp_path: Path) -> None:
    assert train.main([str(tmp_path), "--width", "33"]) == 2
    assert sys.float_info.min / 2 > 0
