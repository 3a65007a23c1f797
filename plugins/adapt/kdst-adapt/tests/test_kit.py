"""The kit of authors: losses of several terms, and resets between them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kdst_adapt.checks import small_network
from kdst_adapt.kit import OnlineAdapter, entropy
from kdst_adapt.options import UpdateOptions
from kdst_core.contracts import AdaptRequest


class TwoTerms(OnlineAdapter[UpdateOptions]):
    """Entropy and the mean logit, as one loss or a term at a time."""

    apart = False

    def update(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        if self.apart:
            self.accumulate(entropy(logits).mean())
            logits = self.model(x)
            self.step(logits.mean())
        else:
            self.step(entropy(logits).mean() + logits.mean())
        return logits.detach()


def adapter(**changes: Any) -> TwoTerms:
    request = AdaptRequest(small_network().double(), 5, (3, 8, 8), torch.Generator())
    return TwoTerms(request, UpdateOptions(lr=1e-2, **changes))


def images(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_terms_accumulated_are_one_loss(optimizer: str) -> None:
    whole, apart = adapter(optimizer=optimizer), adapter(optimizer=optimizer)
    apart.apart = True
    for seed in range(3):
        one, other = whole.predict(images(seed)), apart.predict(images(seed))
        assert (one - other).abs().max() < 1e-12


def test_a_reset_drops_what_no_step_has_taken() -> None:
    used, fresh = adapter(), adapter()
    used.accumulate(used.model(images(0)).sum())
    used.reset()
    for seed in range(2):
        assert torch.equal(used.predict(images(seed)), fresh.predict(images(seed)))
