"""RDumb as an algorithm: against a plain rendering of it, and its resets."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdst_adapt.testing import batches, entropies, network, prepare, request
from kdst_authors.testing import check_plugin, make_run
from kdst_rdumb import Options, adapt


def plain_rdumb(
    model: nn.Module, data: list[Tensor], e0: float, d: float, every: int
) -> list[Tensor]:
    """ETA on a fresh copy of the model, with a fresh optimiser, for every so many batches."""
    outputs = []
    for number, x in enumerate(data):
        if number % every == 0:
            net, affine = prepare(model)
            sgd = torch.optim.SGD(affine, 0.05, 0.9)
            mean = None
        logits = net(x)
        outputs.append(logits.detach())
        p, h = logits.softmax(1).detach(), entropies(logits)
        kept = [k for k in range(len(x)) if h[k] < e0]
        if mean is not None:
            cosine = {k: p[k] @ mean / (p[k].norm() * mean.norm()) for k in kept}
            kept = [k for k in kept if abs(cosine[k]) < d]
        if not kept:
            continue
        new = p[kept].mean(0)
        mean = new if mean is None else 0.9 * mean + 0.1 * new
        loss = sum(h[k] / torch.exp(h[k].detach() - e0) for k in kept) / len(kept)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return outputs


@pytest.mark.parametrize("every", [2, 3, 1000])
@pytest.mark.parametrize("profile", ["published", "corrected"])
def test_rdumb_equals_a_plain_rendering_in_float64(
    tmp_path: Path, profile: str, every: int
) -> None:
    share = 0.17 if profile == "published" else 0.7
    options = Options(
        profile=profile,
        margin=share,
        distance=0.6,
        lr=0.05,
        reset_every=every,  # type: ignore[arg-type]
    )
    method = adapt(request(network()), options, make_run(tmp_path))
    e0 = share * math.log(1000 if profile == "published" else 5)
    expected = plain_rdumb(network(), batches(4), e0, 0.6, every)
    for number, (x, logits) in enumerate(zip(batches(4), expected, strict=True)):
        assert (method.predict(x) - logits).abs().max() < 1e-10
        assert method.diagnostics.scalars["resets"] == (number > 0 and number % every == 0)
        assert 0 < method.diagnostics.samples < len(x)


def test_after_its_reset_rdumb_repeats_a_fresh_run_bit_for_bit(tmp_path: Path) -> None:
    options = Options(reset_every=2, lr=0.1, margin=2.0, distance=1.1)
    method = adapt(request(network()), options, make_run(tmp_path))
    data = batches(2)
    first, second, *again = (method.predict(x) for x in (*data, *data))
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(second, method.predict(data[1]))


def test_the_count_towards_a_reset_outlives_a_checkpoint_but_no_reset(tmp_path: Path) -> None:
    options = Options(reset_every=3)
    method, other = (adapt(request(network()), options, make_run(tmp_path)) for _ in range(2))
    data = batches(4)
    for x in data[:2]:
        method.predict(x)
    other.load_state_dict(method.state_dict())
    resets = []
    for x in data:
        other.predict(x)
        resets.append(other.diagnostics.scalars["resets"])
    assert resets == [0, 1, 0, 0]
    other.reset()
    assert other.done == 0


def test_published_defaults_are_the_papers() -> None:
    options = Options(profile="published")
    assert (options.optimizer, options.lr, options.momentum) == ("sgd", 2.5e-4, 0.9)
    assert (options.reset_every, options.margin) == (1000, 0.4)


def test_rdumb_conforms() -> None:
    check_plugin("rdumb")
