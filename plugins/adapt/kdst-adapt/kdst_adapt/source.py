"""Source: the classifier as it was trained, without adaptation (baseline)."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.update import LayoutOptions
from kdst_core import Description, hookimpl

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices


@frozen
class SourceOptions(LayoutOptions):
    """The baseline has a memory layout, no other options."""


@hookimpl
def describe() -> Description:
    """Describe the baseline."""
    return Description(
        summary="The classifier as it was trained, without adaptation.",
        options=SourceOptions,
        licence="Apache-2.0",
        random=False,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: SourceOptions, run: "RunServices") -> "OnlinePredictor":
    """Return the unadapted classifier."""
    from kdst_adapt.baselines import source

    return source(request.model, run.device, options.layout)
