"""An audit says what was read, by whom and beside what chance gives, and refuses what it cannot judge."""

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdst_authors.testing import make_run
from kdst_core.bench.contract import Job
from kdst_core.errors import KdstError
from kdst_core.reports.blocks import Marked
from kdst_invert.attackers.linear import ridge
from kdst_invert.attackers.words import read_nearest, read_words
from kdst_invert.commands.audit_bench import bench
from kdst_invert.measures.units import breaks_words
from kdst_invert.store_audit import identify, inference, personal
from kdst_invert.store_audit.inputs import AuditInputs
from kdst_invert.store_audit.leakage import as_json, has, leak, leaks, main
from kdst_invert.store_audit.report import content, squares
from kdst_invert.store_audit.run import PreparedAudit
from kdst_invert.store_audit.sentences import _membership, findings, least_area, untested
from kdst_invert.stores.table import Store

WHO = ["anna berg", "bodo lenz", "cora falk", "dirk mohn", "elsa rabe", "fred zorn"]
WHAT = ["fever", "cough", "rash", "pain", "gout"]


def texts(count: int = 120) -> list[str]:
    """Different texts of few words: every person with every complaint, four times."""
    return [f"{WHO[i % 6]} has {WHAT[i % 5]} since day {i // 30}" for i in range(count)]


class Bags:
    """Sums of the vectors of words: what a linear attacker can read."""

    name, dimension, normalised = "bags", 128, True

    def __call__(self, written: Any) -> torch.Tensor:
        rows = []
        for text in written:
            seeds = [hash_of(word) for word in text.split()]
            drawn = [torch.randn(128, generator=torch.Generator().manual_seed(s)) for s in seeds]
            rows.append(torch.stack(drawn).sum(0))
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def hash_of(word: str) -> int:
    """A number of a word, the same in every process."""
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")


def test_ridge_leaves_each_pair_out_as_a_fit_without_it_does() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(12, 5, generator=generator), torch.randn(12, 2, generator=generator)
    y = x @ torch.randn(5, 2, generator=generator) + 0.3 * noise
    found = ridge(x, y)
    centre = x - x.mean(0)
    hat = torch.eye(12) - centre @ torch.linalg.pinv(centre)
    # with next to no penalty the left-out prediction is that of least squares with a fixed mean
    exact = y - (hat @ (y - y.mean(0))) / hat.diagonal()[:, None]
    assert torch.allclose(found.left_out, exact, atol=0.15)
    assert float((found(x) - y).norm()) < float((found.left_out - y).norm())


def test_a_map_of_nothing_predicts_the_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 30, generator=generator), torch.randn(40, 3, generator=generator)
    far = ridge(x, y)(torch.randn(200, 30, generator=generator))
    assert float((far - y.mean(0)).abs().mean()) < 0.2


def test_words_are_read_from_known_pairs_and_chance_is_beside_them() -> None:
    written, embed = texts(), Bags()
    e = embed(written)
    read = read_words(e[:90], written[:90], e[90:])
    values = [{"person": [WHO[i % 6]]} for i in range(90, 120)]
    found = leaks(read, written[90:], values)
    assert found["person"].value > found["person"].chance + 0.4
    assert found["person"].found
    assert found["token_f1"].value > found["token_f1"].chance + 0.2
    assert read_nearest(e[:90], written[:90], e[:3]) == written[:3]


def test_what_was_not_read_is_never_a_finding() -> None:
    nothing = leak([0.0] * 30, [0.0] * 30)
    assert not nothing.found
    assert 0.1 < nothing.least < 0.13  # of 30 values none: up to 11 % could have gone unseen
    same = leak([0.5, 0.4, 0.6, 0.5] * 8, [0.5] * 32)
    assert not same.found
    assert leak([0.9, 1.0] * 10, [0.1] * 20).found


def test_the_embedder_is_recognised_with_its_prefix() -> None:
    written, embed = texts(), Bags()
    plain = identify.identify(embed(written), written, [embed])
    assert plain is not None
    assert (plain.prefix, plain.rows) == ("", identify.SAMPLE)
    asked = identify.identify(embed([f"query: {t}" for t in written]), written, [embed])
    assert asked is not None
    assert asked.prefix == "query: "
    halves = embed(written).half().float()
    assert identify.identify(halves, written, [embed]) is not None
    other = torch.randn(120, 128, generator=torch.Generator().manual_seed(0))
    assert identify.identify(other, written, [embed]) is None
    assert identify.identify(torch.randn(120, 9), written, [embed]) is None


def test_rows_in_another_order_are_refused_by_their_embedder_and_without_it() -> None:
    written, embed = texts(), Bags()
    e = embed(written)
    with pytest.raises(KdstError, match="the rows do not belong to the texts: 32 of 32"):
        identify.identify(e.roll(1, 0), written, [embed])
    turned = (
        e @ torch.linalg.qr(torch.randn(128, 128, generator=torch.Generator().manual_seed(2)))[0]
    )
    generator = torch.Generator().manual_seed(0)
    assert identify.check_related(turned, written, embed, generator) > 0.9
    order = torch.randperm(120, generator=generator)
    with pytest.raises(KdstError, match="do not seem to belong to the texts"):
        identify.check_related(turned[order], written, embed, generator)


def test_a_few_rows_of_other_texts_are_told() -> None:
    written, embed = texts(), Bags()
    e = embed(written)
    rows = identify.spread(len(written), identify.SAMPLE)[:2]
    e[rows] = e[rows[::-1]]
    found = identify.identify(e, written, [embed])
    assert found is not None
    assert found.foreign == 2
    assert "2 of these rows hold no vector of their text" in found.sentence


def test_membership_and_columns() -> None:
    written, embed = texts(), Bags()
    e = embed(written)
    found = inference.membership(e, e[:60], 60)
    assert (found.auc, found.recognised.value) == (1.0, 1.0)
    none = inference.membership(torch.randn(400, 64), torch.randn(200, 64), 200)
    assert 0.4 < none.auc < 0.6
    columns = {"what": [WHAT[i % 5] for i in range(120)], "id": list(range(120))}
    (guessed,) = inference.attributes(e[:90], e[90:], columns, range(90), range(90, 120))
    assert (guessed.column, guessed.found) == ("what", True)
    assert guessed.right == 1.0
    (blind,) = inference.attributes(
        torch.randn(90, 64), torch.randn(30, 64), columns, range(90), range(90, 120)
    )
    assert not blind.found


def test_columns_that_the_text_repeats_are_personal_values() -> None:
    values, said = personal.values_of(
        ["anna berg has gout", "nobody"], {"who": ["anna berg", "cora falk"], "n": [1, 2]}, False
    )
    assert values == [{"column who": ["anna berg"]}, {}]
    assert said == ["Personal data were not looked for in the texts, as was asked."]


@pytest.mark.parametrize(
    ("value", "text", "there"),
    [
        ("张伟", "张伟住在北京", True),
        ("伟", "张伟住在北京", False),
        ("रवि", "रवि को बुखार है", True),
        ("O'Neil-Smith", "mrs o’neil smith came", True),
        ("12", "room 12", False),
    ],
)
def test_values_of_any_script_are_personal(value: str, text: str, there: bool) -> None:
    values, _ = personal.values_of([text], {"who": [value]}, False)
    assert values == [{"column who": [value]} if there else {}]


def test_presidio_finds_what_has_a_pattern() -> None:
    pytest.importorskip("presidio_analyzer")
    values, said = personal.values_of(["write to anna.berg@example.org please"], {}, True)
    assert "written in English" in said[0]
    assert values[0]["e-mail address"] == ["anna.berg@example.org"]


class Repeats:
    """A method that always says the same."""

    plugin = SimpleNamespace(qualified="kdst-test/repeats")

    def __init__(self, oracle: Any) -> None:
        self.oracle = oracle

    def working(self) -> Any:
        return nullcontext()

    def call(self, request: Any, options: Any, run: Any) -> Any:
        return self.oracle(["anna berg has fever"] * len(request.embeddings)).invert(request)


@pytest.fixture
def audit(oracle: Any, tmp_path: Path) -> Any:
    """Carries out an audit of rows; returns its table, metrics, sentences and report."""

    def carry_out(same: bool, shown: bool = False) -> Any:
        written, embed = texts(), Bags()
        e = embed(written)
        identity = identify.identify(e, written, [embed]) if same else None
        inputs = AuditInputs(known=[10, 60, 1000], count=30, show_texts=shown)
        store = Store("test", e.numpy(), written, {"what": [WHAT[i % 5] for i in range(120)]})
        values = [{"person": [WHO[i % 6]]} for i in range(120)]
        job = Job(Repeats(oracle), object(), inputs, 0, "cpu")  # type: ignore[arg-type]
        prepared = PreparedAudit(
            job, "cpu", store, written, embed, identity, None, values, ["A note."]
        )
        run = make_run(tmp_path / f"run{same}{shown}")
        outcome = prepared.execute(run)
        table = json.loads((run.artifacts / "audit.json").read_text())
        page = content({"artifacts": outcome.artifacts, "metrics": outcome.metrics}, run.dir)
        return table, outcome, page

    return carry_out


def test_an_audit_reads_more_the_more_is_known(audit: Any) -> None:
    table, outcome, page = audit(same=True)
    assert table["known"] == [0, 10, 60]
    assert table["not_tried"] == [1000]
    few, many = (outcome.metrics[f"k{k}.words.token_f1"] for k in (10, 60))
    assert many > few + 0.05
    assert outcome.metrics["k60.words.person.low"] > outcome.metrics["k60.words.person.chance"]
    assert outcome.metrics["membership.auc"] == 1.0
    assert outcome.metrics["attribute.what"] > 0.9
    assert outcome.metrics["rotation.secret.overlap"] == pytest.approx(1.0, abs=0.02)
    plain = outcome.metrics["gaussian.λ=0.token_f1"]
    assert outcome.metrics["rotation.secret.token_f1"] == pytest.approx(plain, abs=0.05)
    said = " ".join(findings(table))
    assert "The vectors are those of bags" in said
    assert "Someone who knows 60 texts of the store reads the others" in said
    assert "1,000 known texts" in untested(table)[0]
    assert any(isinstance(b, Marked) and b.title == "What was not tested" for b in page.blocks)


def test_texts_are_shown_only_where_that_is_asked_for(audit: Any) -> None:
    hidden, plain = audit(same=True)[2], audit(same=True, shown=True)[2]
    for page, there in ((hidden, False), (plain, True)):
        examples = next(b for b in page.blocks if b.title == "Examples")
        words = " ".join(span.text for line in examples.paragraphs for span in line)
        assert ("since day" in words) == there


def test_without_the_embedder_nothing_is_said_of_one_who_knows_nothing(audit: Any) -> None:
    table, _, _ = audit(same=False)
    assert not [row for row in table["leaks"] if row["known"] == 0]
    said = findings(table)
    assert "no attacker here can begin without a known text" in " ".join(said)
    assert "None of the embedders that were tried" in said[0]


@pytest.mark.parametrize(
    ("auc", "count", "told"),
    [(0.7, 4, False), (0.7, 200, True), (0.55, 1000, True), (0.5, 9, False)],
)
def test_membership_is_denied_only_with_what_could_have_been_seen(
    auc: float, count: int, told: bool
) -> None:
    found = {
        "auc": auc, "recognised": [0.2, 0.1, 0.3], "members": count, "others": count, "asks": True
    }  # fmt: skip
    table = {"identity": "x", "known": [], "leaks": [], "membership": found, "attributes": []}
    said = " ".join(findings(table))
    assert ("can tell whether it is in the store" in said) is told
    assert ("could not have been told from chance" in said) is not told


def test_no_area_is_beyond_chance_without_others() -> None:
    assert least_area(5, 0) == 1.0
    assert 0.5 < least_area(1000, 1000) < 0.54 < least_area(3, 3) <= 1


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_a_part_of_the_rows_in_another_order_is_refused(share: float) -> None:
    written, embed = texts(), Bags()
    e = embed(written)
    moved = torch.randperm(120, generator=torch.Generator().manual_seed(2))[: int(120 * share)]
    e[moved] = e[moved.roll(1)]
    with pytest.raises(KdstError, match="the rows do not belong to the texts"):
        identify.identify(e, written, [embed])


def test_rows_of_other_texts_do_not_hide_the_embedder() -> None:
    written, embed = texts(), Bags()
    e = embed(written)
    rows = identify.spread(len(written), identify.SAMPLE)[:10]
    e[rows] = torch.randn(10, e.shape[1], generator=torch.Generator().manual_seed(1))
    found = identify.identify(e, written, [embed])
    assert found is not None
    assert found.foreign == 10
    assert "10 of these rows hold no vector of their text" in found.sentence


@pytest.mark.parametrize(
    ("read", "value", "there"),
    [
        ("张 伟 住 北 京", "张伟", True),
        ("李 伟 住", "张伟", False),
        ("रवि को बुखार है", "रवि", True),
        ("रव को बुखार", "रवि", False),
        ("temperature 5 outside", "-5", False),
        ("balance 1.000 paid", "1,000", False),
        ("the o'neil family", "O’Neil", True),
        ("anything", "!?", False),
    ],
)
def test_values_are_read_by_units_of_any_script(read: str, value: str, there: bool) -> None:
    assert has(read, value) == there


def test_copies_of_a_text_are_not_chance() -> None:
    texts = ["the same short note"] * 18 + [f"another {i} one" for i in range(2)]
    found = as_json(leaks(texts, texts, [{"name": ["same"]}] * 18 + [{}, {}]))
    assert found["token_f1"]["chance"] < 0.2
    assert found["token_f1"]["found"]
    assert found["name"]["found"]


def test_a_store_of_copies_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.ones((60, 8), dtype=np.float32))
    (tmp_path / "t.txt").write_text("\n".join(f"text {i % 4}" for i in range(60)))
    given = AuditInputs(data=tmp_path / "s.npy", texts=tmp_path / "t.txt")
    job = Job(None, None, given, 0, "cpu")  # type: ignore[arg-type]
    with pytest.raises(KdstError, match="has 4 different texts; an audit needs at least 20"):
        bench.prepare(job)


def test_the_linear_reader_reads_scripts_without_spaces() -> None:
    names = [a + b for a in "张李王赵陈刘" for b in "伟芳娜敏静强"]
    texts = [f"{name}昨天来过医院" for name in names] * 2
    generator = torch.Generator().manual_seed(0)
    letters = {c: torch.randn(64, generator=generator) for c in sorted(set("".join(texts)))}
    e = torch.stack([sum(letters[c] for c in text) for text in texts])
    read = read_words(e[6:], texts[6:], e[:6])
    assert all(has(found, name) for found, name in zip(read, names[:6], strict=True))
    assert [breaks_words(t) for t in ("Zoë, 5 %", "रोगी", "ผู้ป่วย", "José\u0301")] == [
        False, True, True, True
    ]  # fmt: skip


def test_texts_without_spaces_are_no_proof_of_safety() -> None:
    texts = [f"病人{a}{b}昨天来过医院" for a in "张李王赵陈刘杨黄" for b in "伟芳娜敏静"]
    found = as_json(leaks([" ".join(t[:5]) for t in texts], texts, [{}] * len(texts)))
    assert not found["token_f1"]["found"]
    assert found["unit_f1"]["found"]
    assert main([found]) == "unit_f1"
    row = {"attacker": "words", "known": 10, "leaks": found}
    table = {"identity": "x", "known": [10], "leaks": [row], "membership": None, "attributes": []}
    assert "reads the others with unit F1" in " ".join(findings(table))


def test_squares_tell_how_much_and_not_what() -> None:
    assert squares("Anna has gout.", "gout anna") == "■ □ ■"
    assert not set(squares("Anna has gout.", "gout")) & set("abcdefghijklmnopqrstuvwxyz")


def test_metrics_are_numbers(audit: Any) -> None:
    _, outcome, _ = audit(same=True)
    assert all(np.isfinite(v) for v in outcome.metrics.values())


def test_known_texts_set_the_threshold_of_membership() -> None:
    generator = torch.Generator().manual_seed(0)
    store = torch.nn.functional.normalize(torch.randn(400, 24, generator=generator), dim=1)
    asked = torch.cat([store[:60], torch.randn(60, 24, generator=generator)])
    blurred = asked + 0.05 * torch.randn(120, 24, generator=generator)
    known = range(100, 300)
    e = store[100:300] + 0.05 * torch.randn(200, 24, generator=generator)
    shadow = inference.Shadow(e, known)
    found = inference.membership(blurred, store, 60, shadow)
    assert found.shadow == 200
    assert found.recognised.value > 0.9
    assert found.alarms.value <= 0.05
    alone = (e @ store.T).masked_fill(torch.eye(400)[list(known)] > 0, -2).amax(1)
    assert float((alone / e.norm(dim=1) > shadow.limit(store)).float().mean()) <= 0.016
    said = _membership(
        {
            "asks": True,
            "auc": 1.0,
            "members": 60,
            "others": 60,
            "recognised": [0.95, 0.9, 1.0],
            "alarms": [0.02, 0.0, 0.09],
            "shadow": 200,
        }
    )
    assert (
        "by a threshold that 200 known texts set, which takes 2% (0% to 9%) of 60 others" in said[0]
    )
