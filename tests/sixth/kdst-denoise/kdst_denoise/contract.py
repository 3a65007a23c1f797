"""The capability `denoise`: its hook, and what a method is given."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kdst_core import hookspec

if TYPE_CHECKING:
    from kdst_core.contracts import RunServices

TEMPLATES = "templates"
SUMMARY = "A weighted mean of neighbours."


@frozen
class DenoiseRequest:
    """A signal (N) with noise of a known standard deviation."""

    signal: tuple[float, ...]
    noise: float


@hookspec(firstresult=True)
def denoise(request: DenoiseRequest, options: Any, run: "RunServices") -> Sequence[float]:
    """Return the signal (N) without its noise."""
    raise NotImplementedError
