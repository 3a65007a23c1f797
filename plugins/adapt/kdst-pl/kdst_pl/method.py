"""The algorithm of pseudo-labelling (Lee, 2013), online on test batches."""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from kdst_adapt.kit import OnlineAdapter

if TYPE_CHECKING:
    from kdst_pl import Options


class Pl(OnlineAdapter["Options"]):
    """Learns from confident predictions; returns the logits before the update, as published."""

    options: "Options"

    def uses_batch_statistics(self) -> bool:
        """The published profile keeps BatchNorm's statistics of training."""
        return self.options.profile == "corrected"

    def update(self, x: Tensor) -> Tensor:
        """One step on the cross-entropy to ŷ = argmax p(y | x) of the images with max p > threshold."""
        logits: Tensor = self.model(x)
        confidence, label = logits.softmax(1).max(1)
        confident = confidence > self.options.threshold
        count = int(confident.sum())
        wanted = count > 0 or self.options.profile == "published"
        if wanted:
            loss = F.cross_entropy(logits[confident], label[confident])
            self.step(loss)
        if count:
            self.record("loss", loss)
        self.report(samples=count, updated=wanted)
        self.record("share kept", count / len(x))
        return logits
