"""The algorithm of RDumb (Press et al., NeurIPS 2023, section 5)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kdst_adapt.selection import SelectiveAdapter, margin_in_nats, usual_distance
from kdst_core.contracts import AdaptRequest

if TYPE_CHECKING:
    from kdst_rdumb import Options


class RDumb(SelectiveAdapter["Options"]):
    """ETA that forgets everything every T updates; returns the logits before the update, as published."""

    def __init__(self, request: AdaptRequest, options: "Options", device: str = "cpu") -> None:
        published, classes = options.profile == "published", request.num_classes
        self.margin = margin_in_nats(options.margin, classes, published=published)
        usual = usual_distance(classes, published=published)
        self.distance = usual if options.distance is None else options.distance
        super().__init__(request, options, device)

    def begin(self) -> None:
        """No prediction and no batch has been seen."""
        super().begin()
        self.done = 0

    def update(self, x: Tensor) -> Tensor:
        """Go back to the start where T batches were seen since, then one step of ETA."""
        due = self.done == self.options.reset_every
        if due:
            self.reset()
        self.record("resets", float(due))
        self.done += 1
        return super().update(x)

    def own_state(self) -> dict[str, Any]:
        """Return the mean prediction and the count of batches since the last reset."""
        return {**super().own_state(), "done": self.done}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take both back."""
        super().load_own_state(state)
        self.done = state["done"]
