"""Source: the classifier as it was trained, without adaptation (baseline)."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.options import LayoutOptions
from kdst_core import Description, hookimpl

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices


@frozen
class Options(LayoutOptions):
    """The baseline has a memory layout, no other options."""


@hookimpl
def describe() -> Description:
    """Describe the baseline."""
    return Description(
        summary="The classifier as it was trained, without adaptation.",
        options=Options,
        licence="Apache-2.0",
        random=False,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return the unadapted classifier."""
    from kdst_adapt.baselines.fixed import source

    return source(request.model, run.device, options.layout)
