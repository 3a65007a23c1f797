"""The algorithm of DeYO (Lee et al., ICLR 2024, section 4)."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdst_adapt.kit import OnlineAdapter, entropy
from kdst_adapt.models.depth import late_parameters
from kdst_core.contracts import AdaptRequest
from kdst_deyo.destroy import occlude, shuffle_patches, shuffle_pixels

if TYPE_CHECKING:
    from kdst_deyo import Options


class Deyo(OnlineAdapter["Options"]):
    """Entropy minimisation on chosen images; returns the logits before the update, as published."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        most = math.log(request.num_classes)
        self.threshold, self.margin = options.tau_ent * most, options.ent_0 * most
        super().__init__(request, options, device)

    def choose(self, named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Leave out the last blocks and what follows, as SAR does; all if none is left."""
        late = late_parameters(self.model, self.wiring.order)
        kept = {name: p for name, p in named.items() if id(p) not in late}
        return kept or named

    def update(self, x: Tensor) -> Tensor:
        """One step on the mean of α(x) · Ent(x) over the chosen images (equations 8 to 10)."""
        logits: Tensor = self.model(x)
        h = entropy(logits)
        confident = h.detach() < self.threshold
        plpd = self.plpd(x, logits.detach(), confident)
        chosen = confident & (plpd > self.options.tau_plpd)
        count = int(chosen.sum())
        if count:
            weight = (self.margin - h[chosen].detach()).exp() + plpd[chosen].exp()
            loss = (weight * h[chosen]).mean()
            self.step(loss)
            self.record("loss", loss)
        self.report(samples=count, updated=count > 0)
        self.record("share confident", confident.double().mean())
        self.record("share kept", count / len(x))
        return logits

    @torch.no_grad()
    def plpd(self, x: Tensor, logits: Tensor, confident: Tensor) -> Tensor:
        """Return by how much the probability of the predicted class falls (B,), for x (B, C, H, W),
        its logits (B, num_classes) and whether each is confident (B,).

        Where no image is confident nothing is computed. In the published profile the others are not
        predicted, unless it is one alone that is, of which BatchNorm may have no statistics.
        """
        fall = logits.new_full((len(x),), -math.inf)
        if not confident.any():
            return fall
        few = self.options.profile == "published" and int(confident.sum()) > 1
        asked = confident if few else torch.ones_like(confident)
        p = logits[asked].softmax(1)
        destroyed: Tensor = self.model(self.arrange(self.destroy(x[asked])))
        label = p.argmax(1, keepdim=True)
        fall[asked] = (p.gather(1, label) - destroyed.softmax(1).gather(1, label))[:, 0]
        return fall

    def destroy(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W) without the shape of their objects."""
        if self.options.destroy == "patch":
            return shuffle_patches(x, self.options.patches, self.generator)
        if self.options.destroy == "pixel":
            return shuffle_pixels(x, self.generator)
        return occlude(x)
