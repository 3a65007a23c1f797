"""TurboEdit: a photograph is edited in the few steps of a few-step model."""

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_edit.options import share
from kdst_turbo_edit.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices

CITATION = """
@inproceedings{deutch2024turboedit,
  title     = {TurboEdit: Text-Based Image Editing Using Few-Step Diffusion Models},
  author    = {Deutch, Gilad and Gal, Rinon and Garibi, Daniel and Patashnik, Or
               and Cohen-Or, Daniel},
  booktitle = {SIGGRAPH Asia},
  year      = {2024}
}
"""


@frozen
class Options:
    """Options of turbo-edit, with the paper's symbols."""

    inverts: ClassVar[bool] = False
    """No inversion by the bench: the method has its own."""

    w: float = option(1.5, "Scale of the pseudo-guidance; 1 is edit-friendly inversion (w).", min=0)
    delta: int = option(
        200,
        "Timesteps, of 1,000, by which the source is noised less than the model is told (Δ).",
        min=0,
        max=999,
    )
    begin: float = share(
        0.8, "Level of the first step, as a share of the model's levels: timestep 799 of 1,000."
    )
    end: float = share(
        0.2, "Level of the last step, as a share of the model's levels: timestep 199 of 1,000."
    )
    norm: float | None = option(
        None,
        "Largest norm of the last step's noise map, for latents of 4×64×64 and in proportion for others;"
        " 0 is no bound. Default: 15.5 for Turbo models, as the authors' code, and none for others.",
        min=0,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Edit in a few steps: edit-friendly inversion, shifted, with pseudo-guidance.",
        options=Options,
        paper="Deutch et al., TurboEdit: Text-Based Image Editing Using Few-Step Diffusion Models,"
        " SIGGRAPH Asia 2024",
        url="https://arxiv.org/abs/2408.00735",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_turbo_edit.method import edit_in_few_steps

    return edit_in_few_steps(request, options, run)
