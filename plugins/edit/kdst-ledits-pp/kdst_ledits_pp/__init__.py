"""LEDITS++: several edits at once, each where it belongs, after an exact inversion in few steps."""

from typing import TYPE_CHECKING, ClassVar, Literal

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_edit.options import share
from kdst_ledits_pp.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices

CITATION = """
@inproceedings{brack2024ledits,
  title     = {LEDITS++: Limitless Image Editing using Text-to-Image Models},
  author    = {Brack, Manuel and Friedrich, Felix and Kornmeier, Katharina and Tsaban, Linoy
               and Schramowski, Patrick and Kersting, Kristian and Passos, Apolin{\\'a}rio},
  booktitle = {CVPR},
  year      = {2024}
}
"""


@frozen
class Options:
    """Options of ledits-pp; the paper's symbols are in the help texts."""

    inverts: ClassVar[bool] = False
    """No inversion by the bench: the method has its own."""

    edit: list[str] = option(
        [],
        "An edit in words: TEXT or +TEXT to add, -TEXT to remove, and @scale=S,threshold=L,warmup=W,"
        "cooldown=C for options of its own; several. Default: those of --concept.",
    )
    concept: Literal["prompt", "words"] = option(
        "prompt",
        "The edits that a target stands for, added and removed: the target's prompt and the source's, or"
        " only the words in which they differ. The paper takes edits from the user; words are nearer to"
        " that, but the model that kdst brings knows whole captions only.",
    )
    scale: float = option(5.0, "Scale of an edit (s_e).", min=0)
    threshold: float = share(0.9, "Share of the picture that an edit leaves alone (λ).")
    warmup: float = share(0.0, "Share of the steps before edits act.")
    cooldown: float = share(1.0, "Share of the steps after which edits act no more.")
    grounding: Literal["intersect", "attention", "noise", "none"] = option(
        "intersect",
        "Where an edit acts: where its words attend (M1), where its noise estimate is largest (M2), both"
        " (intersect), or everywhere (none).",
    )
    solver: Literal["dpm", "ddpm"] = option(
        "dpm",
        "Steps: dpm is DPM-Solver++ of second order as an SDE; ddpm is edit-friendly DDPM inversion.",
    )
    level_skip: float = share(
        0.15, "How many steps more the levels are made for, from noise, than are carried out."
    )
    profile: Literal["corrected", "published"] = option(
        "corrected",
        "published: as the authors' code in diffusers. corrected: M2 acts at all levels, not only below"
        " timestep 800, and the last step's map makes the inversion exact.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Several edits at once, each masked by attention and by its noise estimate.",
        options=Options,
        paper="Brack et al., LEDITS++: Limitless Image Editing using Text-to-Image Models, CVPR 2024",
        url="https://arxiv.org/abs/2311.16711",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_ledits_pp.method import edit_where_it_belongs

    return edit_where_it_belongs(request, options, run)
