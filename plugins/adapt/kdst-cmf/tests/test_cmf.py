"""CMF as an algorithm: against a plain rendering of it, and through its profiles."""

from pathlib import Path

import pytest
import torch
from torch import Generator

from kdst_adapt.testing import (
    batches,
    network,
    prepare,
    request,
    roid_correction,
    roid_losses,
)
from kdst_authors.testing import check_plugin, make_run
from kdst_cmf import Options, adapt
from kdst_core.errors import KdstError


@pytest.mark.parametrize("profile", ["published", "corrected"])
@pytest.mark.parametrize("q", [0.005, 300.0])
def test_cmf_equals_a_plain_rendering_in_float64(tmp_path: Path, profile: str, q: float) -> None:
    """With q 300 the prediction's share meets its lower bound."""
    source, generator = network(), Generator().manual_seed(3)
    options = Options(profile=profile, q=q, gamma=0.9)  # type: ignore[arg-type]
    cmf = adapt(request(source), options, make_run(tmp_path))
    model, affine = prepare(source)
    start = [p.detach().clone() for p in affine]
    hidden, variance = [p.clone() for p in start], 0.0
    adam, mean = torch.optim.Adam(affine, 1e-3), torch.full((5,), 0.2, dtype=torch.float64)
    noise = q * sum(p.numel() for p in affine) / 38400
    for x in batches(4):
        logits, loss, mean = roid_losses(model, x, mean, generator)
        adam.zero_grad()
        loss.backward()
        adam.step()
        variance = 0.99**2 * variance + noise
        beta = (1 - noise) / (variance + 1 - noise)
        beta = 0.89 if beta < 0.89 else 1.0 if beta >= 0.9999 else beta
        variance = beta * variance
        with torch.no_grad():
            for k, p in enumerate(affine):
                predicted = 0.99 * hidden[k] + 0.01 * start[k]
                hidden[k] = beta * predicted + (1 - beta) * p
                p.copy_(0.9 * p + 0.1 * hidden[k])
        assert (cmf.predict(x) - roid_correction(logits, profile)).abs().max() < 1e-10
        assert cmf.diagnostics.scalars["loss"] == pytest.approx(loss.item(), abs=1e-10)
        assert cmf.diagnostics.scalars["filter gain"] == pytest.approx(1 - beta)
    assert (beta == 0.89) == (q == 300)


def test_only_the_corrected_reset_restores_the_variance(tmp_path: Path) -> None:
    for profile in ("published", "corrected"):
        cmf = adapt(request(network()), Options(profile=profile), make_run(tmp_path / profile))  # type: ignore[arg-type]
        cmf.predict(batches(1)[0])
        assert cmf.variance > 0
        cmf.reset()
        assert (cmf.variance == 0) == (profile == "corrected")
        assert all(map(torch.equal, cmf.hidden, cmf.start))


def test_too_large_a_variance_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KdstError, match="Give --q below"):
        adapt(request(network()), Options(q=2000.0), make_run(tmp_path))


def test_cmf_conforms() -> None:
    check_plugin("cmf")
