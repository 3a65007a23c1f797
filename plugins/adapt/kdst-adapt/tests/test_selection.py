"""Label-free criteria: equal to plain renderings, and measuring them changes no figure."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import kdst_core
from kdst_adapt import memory
from kdst_adapt.checks import small_batches, small_network
from kdst_adapt.studies import selection
from kdst_adapt.studies.selection import PREFIX, Selection
from kdst_batch.compare import compare
from kdst_core.errors import KdstError

SMALL: dict[str, Any] = {"images": 60, "types": "fog,contrast", "batch_size": 20}
TIMED = ("seconds", "cost")


def plain_snd(p: list[list[float]], temperature: float) -> float:
    total = 0.0
    for i, a in enumerate(p):
        near = []
        for j, b in enumerate(p):
            if i != j:
                dot = sum(x * y for x, y in zip(a, b, strict=True))
                size = math.hypot(*a) * math.hypot(*b)
                near.append(math.exp(dot / size / temperature))
        total -= sum(w / sum(near) * math.log(w / sum(near)) for w in near)
    return total / len(p)


def test_soft_neighbourhood_density_is_the_plain_rendering() -> None:
    generator = torch.Generator().manual_seed(0)
    p = (3 * torch.randn(7, 4, generator=generator, dtype=torch.float64)).softmax(1)
    for temperature in (0.05, 1.0):
        ours = selection.soft_neighbourhood_density(p, temperature)
        assert ours == pytest.approx(plain_snd(p.tolist(), temperature), abs=1e-10)
    alike = torch.full((5, 4), 0.25, dtype=torch.float64)
    assert selection.soft_neighbourhood_density(alike) == pytest.approx(math.log(4))


def test_consistency_is_the_cross_entropy_of_both_predictions() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    plain = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        p, q = ([math.exp(v) / sum(map(math.exp, row)) for v in row] for row in (x, y))
        plain -= sum(u * math.log(v) for u, v in zip(p, q, strict=True)) / len(a)
    assert selection.consistency(a, b) == pytest.approx(plain, abs=1e-10)


class Hidden:
    """A predictor that shows no network."""


class Shows:
    """A predictor that shows its network."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model


def test_what_a_method_does_not_show_is_left_out_and_buffers_stay() -> None:
    (x,) = small_batches(1)
    net = small_network().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    logits = torch.randn(len(x), 5, dtype=torch.float64)
    blind = Selection()
    blind.see(0, Hidden(), x, logits)  # type: ignore[arg-type]
    blind.measure(0, {"m": Hidden()})  # type: ignore[dict-item]
    found = selection.metrics(blind.found)
    assert {k for k, v in found.items() if v is None} == {
        PREFIX + "consistency",
        PREFIX + "source_accuracy",
    }
    sees = Selection(source=[(x, torch.zeros(len(x), dtype=torch.int64))])
    sees.see(0, Shows(net), x, logits)  # type: ignore[arg-type]
    sees.measure(0, {"m": Shows(net)})  # type: ignore[dict-item]
    assert None not in selection.metrics(sees.found).values()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    again = Selection()
    again.found = dict(sees.found)
    sees.see(1, Shows(net), x, logits)  # type: ignore[arg-type]
    again.see(1, Shows(net), x, logits)  # type: ignore[arg-type]
    assert all(torch.equal(v, again.found[k]) for k, v in sees.found.items()), "resumable"


def test_criteria_change_no_figure(tmp_path: Path) -> None:
    pytest.importorskip("kdst_tent")
    plain = kdst_core.run("tent", out=tmp_path / "a", **SMALL)
    study = kdst_core.run("tent", out=tmp_path / "b", study="selection", **SMALL)
    ours = {k: v for k, v in study.metrics.items() if not k.startswith(PREFIX)}
    for name, value in plain.metrics.items():
        assert any(t in name for t in TIMED) or ours[name] == value, name
    criteria = {k: v for k, v in study.metrics.items() if k.startswith(PREFIX)}
    assert len(criteria) == 4
    assert criteria[PREFIX + "source_accuracy"] > 0.5
    assert any(line.startswith("criteria: entropy ") for line in study.summary)


def test_compare_says_which_setting_each_criterion_chooses(tmp_path: Path) -> None:
    pytest.importorskip("kdst_tent")
    methods = ["tent:lr=0.001", "tent:lr=10.0", "norm"]
    found = compare(methods, out=tmp_path / "c", runs=tmp_path / "r", select=True, **SMALL)
    chosen = {c.criterion: c for c in found.chosen[""]}
    assert [*chosen] == ["oracle", "entropy", "consistency", "SND", "source accuracy", "worst"]
    assert {c.method for c in chosen.values()} == {"tent"}
    rows = {row.label: row.values[0].mean for row in found.groups[""]}
    assert chosen["oracle"].figure == max(rows["tent:lr=0.001"], rows["tent:lr=10.0"])
    assert chosen["source accuracy"].behind == pytest.approx(
        chosen["oracle"].figure - rows[chosen["source accuracy"].chosen]
    )
    assert "Settings chosen without labels" in found.report.read_text()
    assert "tent,oracle," in (tmp_path / "c/selection.csv").read_text()
    assert "memory, MiB" in [c.label for c in found.columns]


def test_a_choice_needs_several_settings_and_its_own_study(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="needs a method with two settings"):
        compare(["norm", "source"], runs=tmp_path, select=True)
    pytest.importorskip("kdst_tent")
    with pytest.raises(KdstError, match="leave --study energy out"):
        compare(["tent", "tent:lr=0.1"], runs=tmp_path, select=True, study="energy")


def test_peak_memory_holds_what_was_allocated() -> None:
    memory.begin("cpu")
    before = memory.peak("cpu")
    block = torch.ones(16 << 20)
    assert memory.peak("cpu") >= before
    assert memory.peak("cpu") >= block.nbytes
