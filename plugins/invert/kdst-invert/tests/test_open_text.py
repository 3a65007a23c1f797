"""Vectors of other texts than notes are read by the reader of open text, or it is said why not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attrs import frozen

from kdst_authors.testing import make_run
from kdst_core.contracts import Inversion
from kdst_core.errors import KdstError
from kdst_core.plugins import method
from kdst_core.runs.codecs import JsonCodec
from kdst_invert.attackers import open_text
from kdst_invert.load import Target
from kdst_invert.loop import Attacker
from kdst_invert.texts import Originals

TEXTS = [f"boat {i} leaves pier {i + 7}" for i in range(24)]


@frozen
class Options:
    """Options of the embedded inverter."""

    model: str = "tiny"
    budget: int | None = None


class Words:
    """A reader that knows all words of a text but the last."""

    plugin = SimpleNamespace(qualified="kdst-test/words")
    description = SimpleNamespace(options=Options)

    def call(self, request: Any, options: Any, run: Any) -> Any:
        for rows in request.blocks:
            texts = [" ".join(TEXTS[i].split()[:-1]) for i in rows]
            yield Inversion(0, texts, torch.full((len(rows),), 0.6), 9, rows=rows, last=True)

    def working(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


@pytest.fixture
def attacker(tmp_path: Path, hash_embedder: Any) -> Attacker:
    run = make_run(tmp_path, codec=JsonCodec())
    run.artifacts.mkdir(exist_ok=True)
    return Attacker(Words(), hash_embedder, run, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guesses", "options", "notes", "wanted"),
    [
        (0.9, Options(), False, True),
        (0.4, Options(), False, False),
        (0.9, Options(), True, False),
        (0.9, Options(model="dir"), False, False),
        (0.9, Options(budget=0), False, False),
        (0.9, object(), False, False),
    ],
)
def test_texts_are_open_where_the_embedded_inverter_guesses(
    guesses: float, options: Any, notes: bool, wanted: bool
) -> None:
    assert open_text.is_open({"guesses": guesses}, options, notes) is wanted


def test_the_first_rows_are_read_for_their_words(
    attacker: Attacker, hash_embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(method, "load_baseline", lambda name: Words())
    source = Target(hash_embedder(TEXTS), Originals(TEXTS))
    found = open_text.read(attacker, source)
    assert found.metrics["open.texts"] == open_text.ROWS
    assert 0.8 < found.metrics["open.token_f1"] < 1
    assert 0 < found.metrics["open.token_f1.above_chance"] < found.metrics["open.token_f1"]
    assert "open.token_f1" not in found.said
    (said,) = open_text.sentence(found.metrics)
    assert "first 20 texts" in said
    alone = open_text.read(attacker, Target(hash_embedder(TEXTS), None))
    (said,) = open_text.sentence(alone.metrics)
    assert "cosine 0.60" in said


def test_without_a_reader_nothing_is_said_of_safety(
    attacker: Attacker, hash_embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise KdstError("there is no method bow\npip install kdst-bow")

    monkeypatch.setattr(method, "load_baseline", missing)
    found = open_text.read(attacker, Target(hash_embedder(TEXTS), Originals(TEXTS)))
    assert not found.metrics
    assert "nothing is said of what can be read" in found.said
    assert "there is no method bow" in found.said
    assert open_text.sentence(found.metrics) == []
