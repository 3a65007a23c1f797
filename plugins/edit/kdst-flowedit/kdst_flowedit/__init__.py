"""FlowEdit: an image is edited along the difference of two velocities, without inversion."""

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_flowedit.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices

CITATION = """
@article{kulikov2024flowedit,
  title   = {FlowEdit: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models},
  author  = {Kulikov, Vladimir and Kleiner, Matan and Huberman-Spiegelglas, Inbar
             and Michaeli, Tomer},
  journal = {arXiv preprint arXiv:2412.08629},
  year    = {2024}
}
"""


@frozen
class Options:
    """Options of flowedit, with the names of the paper's algorithm 1."""

    inverts: ClassVar[bool] = False
    """No inversion by the bench."""

    n_max: int | None = option(
        None,
        "From which step on it edits, counted from the image (n_max). Default: the published share, 24 of"
        " 28 steps for FLUX.1 and 33 of 50 for all others.",
        min=1,
    )
    n_min: int = option(
        0,
        "The last steps, counted from the image, in which the target is sampled as usual (n_min).",
        min=0,
    )
    n_avg: int = option(1, "Noises that a step's difference is averaged over (n_avg).", min=1)
    source_guidance: float | None = option(
        None,
        "Guidance of the source's velocity. Default: 3.5 for Stable Diffusion 3 and 1.5 for FLUX.1 dev, as"
        " published; --guidance for others.",
        min=0,
    )
    target_guidance: float | None = option(
        None,
        "Guidance of the target's velocity. Default: 13.5 for Stable Diffusion 3 and 5.5 for FLUX.1 dev,"
        " as published; --guidance for others.",
        min=0,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit along the difference of two velocities, without inversion or hooks.",
        options=Options,
        paper="Kulikov et al., FlowEdit: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models,"
        " 2024",
        url="https://arxiv.org/abs/2412.08629",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_flowedit.method import edit_along_flow

    return edit_along_flow(request, options, run)
