"""Pl as an algorithm: against a plain rendering of it, and through its profiles."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.testing import batches, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_pl import Options, adapt


def plain_pl(model: nn.Module, data: list[Tensor], published: bool) -> list[Tensor]:
    model, _ = prepare(model, batch=not published)
    adam = torch.optim.Adam(model.requires_grad_().parameters(), 1e-2)
    outputs = []
    for x in data:
        logits = model(x)
        p, label = logits.softmax(1).max(1)
        kept = [k for k in range(len(x)) if p[k] > 0.6]
        adam.zero_grad()
        if kept:
            (-logits[kept].log_softmax(1)[range(len(kept)), label[kept]]).mean().backward()
        if kept or published:
            adam.step()
        outputs.append(logits.detach())
    return outputs


@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_pl_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: str) -> None:
    model, data = network(batch=profile == "corrected"), batches(4)
    options = Options(profile=profile, threshold=0.6, lr=1e-2)  # type: ignore[arg-type]
    pl = adapt(request(model), options, make_run(tmp_path))
    expected = plain_pl(model, data, profile == "published")
    assert (expected[-1] - plain_pl(model, data[-1:], profile == "published")[0]).abs().max() > 1e-6
    for x, logits in zip(data, expected, strict=True):
        assert (pl.predict(x) - logits).abs().max() < 1e-10


def test_corrected_pl_takes_no_step_without_a_confident_image(tmp_path: Path) -> None:
    pl = adapt(request(network()), Options(threshold=1.0), make_run(tmp_path))
    before = [p.detach().clone() for p in pl.parameters]
    pl.predict(batches(1)[0])
    assert all(torch.equal(a, b) for a, b in zip(before, pl.parameters, strict=True))
    assert pl.diagnostics.updates == pl.diagnostics.samples == 0


def test_pl_conforms() -> None:
    check_plugin("pl")
