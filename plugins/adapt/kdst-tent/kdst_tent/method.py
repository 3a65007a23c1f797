"""The algorithm of Tent (Wang et al., ICLR 2021, section 3)."""

from typing import TYPE_CHECKING

from torch import Tensor

from kdst_adapt.kit import OnlineAdapter, entropy

if TYPE_CHECKING:
    from kdst_tent import Options


class Tent(OnlineAdapter["Options"]):
    """Minimises the mean entropy of each batch; returns the logits before the update, as published."""

    options: "Options"

    def update(self, x: Tensor) -> Tensor:
        """One step on H(ŷ) = -Σ p(ŷ_c) log p(ŷ_c), averaged over the batch (section 3.1)."""
        logits: Tensor = self.model(x)
        loss = entropy(logits).mean()
        self.step(loss)
        self.record("loss", loss)
        return logits
