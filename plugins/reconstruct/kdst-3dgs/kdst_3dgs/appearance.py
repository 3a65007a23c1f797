"""How a photograph shows the colours of the scene: as they are, or changed by what is learnt of it."""

from typing import Any, Protocol

from torch import Tensor

from kdst_3dgs.exposure import Exposures
from kdst_3dgs.grids import BilateralGrids


class Appearance(Protocol):
    """What is learnt of each photograph beside the scene; new views are rendered without it."""

    def applied(self, rgb: Tensor, index: int) -> Tensor:
        """Return a render (H, W, 3) as a photograph shows it, with gradients."""

    def forget(self) -> None:
        """Leave gradients that were not learnt from."""

    def step(self, progress: float) -> None:
        """Learn from the gradients, at a share of the fit."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that learning goes on from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""


class AsTaken:
    """Photographs that show the colours of the scene as they are."""

    def applied(self, rgb: Tensor, index: int) -> Tensor:
        """Return the render itself."""
        return rgb

    def forget(self) -> None:
        """There are no gradients."""

    def step(self, progress: float) -> None:
        """There is nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Need nothing of a state."""


def appearance_of(options: Any, count: int, device: str, threads: int) -> Appearance:
    """Return what the options ask for, for so many photographs."""
    if options.appears == "bilateral":
        rates = (options.bilateral_lr, options.bilateral_tv)
        return BilateralGrids(count, *rates, device=device, threads=threads)
    if options.appears == "exposure":
        return Exposures(count, options.exposure_lr, device)
    return AsTaken()
