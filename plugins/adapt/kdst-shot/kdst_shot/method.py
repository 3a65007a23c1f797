"""The algorithm of SHOT (Liang et al., ICML 2020, section 3.2 and 3.3), online on test batches."""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.kit import OnlineAdapter, entropy

if TYPE_CHECKING:
    from kdst_shot import Options

EPSILON = 1e-5
"""Added to the mean probabilities inside the logarithm, as published."""


class Shot(OnlineAdapter["Options"]):
    """Maximises information; returns the logits before the update, as published."""

    options: "Options"

    def update(self, x: Tensor) -> Tensor:
        """One step on L_ent + L_div + weight · L_pl (equations 3, 4 and 7)."""
        logits: Tensor = self.model(x)
        p = logits.softmax(1)
        mean = p.mean(0)
        loss = entropy(logits).mean() + (mean * (mean + EPSILON).log()).sum()
        confidence, label = p.max(1)
        confident = confidence > self.options.threshold
        count = int(confident.sum())
        if count or self.options.profile == "published":
            pseudo = F.cross_entropy(logits[confident], label[confident])
            loss = loss + self.options.weight * pseudo
        self.step(loss)
        self.record("loss", loss)
        self.record("share confident", count / len(x))
        return logits
