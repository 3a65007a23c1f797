"""Guidance along what a concept adds, where it matters most."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_edit.options import share
from kdst_sega.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices

CITATION = """
@inproceedings{brack2023sega,
  title     = {SEGA: Instructing Text-to-Image Models using Semantic Guidance},
  author    = {Brack, Manuel and Friedrich, Felix and Hintersdorf, Dominik and Struppek, Lukas
               and Schramowski, Patrick and Kersting, Kristian},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}
"""


@frozen
class Options:
    """Options of sega, with the defaults of the authors' pipeline."""

    concept: Literal["prompt", "words"] = option(
        "prompt",
        "The concepts that a target stands for, added and, negatively, dropped: the target's prompt"
        " and the source's, or only the words in which they differ. The paper takes concepts from"
        " the user, where kdst has a target prompt; words are nearer to its use with Stable"
        " Diffusion, but the model that kdst brings knows whole captions only.",
    )
    scale: float = option(5.0, "Scale of the edit (s_e).", min=0)
    threshold: float = share(
        0.9, "Share of the elements left alone, those that the concept moves least (λ)."
    )
    warmup: float = share(0.2, "Share of the steps before guidance acts: 10 of 50 (δ).")
    momentum_scale: float = share(0.1, "Scale of the momentum (s_m).")
    momentum_beta: float = share(0.4, "Share of the old momentum in the new (β_m).")


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Guidance along what a concept adds, where it matters most.",
        options=Options,
        paper="Brack et al., SEGA: Instructing Text-to-Image Models using Semantic Guidance,"
        " NeurIPS 2023",
        url="https://arxiv.org/abs/2301.12247",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
    )


@hookimpl
def edit(request: "EditRequest", options: Options, run: "RunServices") -> "Edit":
    """Edit the source towards each target."""
    from kdst_sega.method import edit_by_concepts

    return edit_by_concepts(request, options, run)
