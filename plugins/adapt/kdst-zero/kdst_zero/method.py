"""The algorithm of ZERO (Farina et al., NeurIPS 2024, section 3.3)."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.baselines.fixed import Fixed
from kdst_adapt.kit import DrawsOnly, adaptable_copy, entropy
from kdst_adapt.views import views
from kdst_core.contracts import AdaptRequest

if TYPE_CHECKING:
    from kdst_zero import Options

FLOOR = 1e-6
"""Added to the share of a class's votes inside the logarithm."""


class Zero(DrawsOnly, Fixed):
    """Classifies each image by the votes of its most confident views."""

    by_image = True
    """Images before the new ones change nothing, so a window would only repeat work."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        self.options = options
        self.draw_from(request.generator)
        model = adaptable_copy(request.model, device, batch_statistics=False)
        super().__init__(model, device, options.layout)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the logarithm of each class's share of the votes, (B, num_classes)."""
        o = self.options
        shares = []
        for image in x:
            seen = views(image, o.views, self.generator, o.smallest, flip=o.flip)
            shares.append(vote(super().predict(seen), o.gamma))
        self._logits = (torch.stack(shares) + FLOOR).log()
        return self._logits.to(x.dtype)


def vote(logits: Tensor, gamma: float) -> Tensor:
    """Return each class's share (C,) of the votes of the views with logits (N, C).

    Views of lowest entropy vote for their class, which is a softmax of temperature 0. Of classes with
    equally many votes that one gets another which the next most confident view votes for.
    """
    order = entropy(logits).argsort(stable=True)
    kept = max(1, int(len(logits) * gamma))
    ballots = logits[order].argmax(1)
    votes = F.one_hot(ballots[:kept], logits.shape[1]).sum(0)
    tied = (votes == votes.max()).nonzero()[:, 0]
    if len(tied) > 1:
        later = [b for b in ballots[kept:].tolist() if b in tied.tolist()]
        votes[later[0] if later else int(tied[0])] += 1
    return votes.to(logits) / votes.sum()
