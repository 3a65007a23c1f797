"""ZERO: the most confident views of an image vote for its class; nothing is trained."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.options import LayoutOptions
from kdst_core import Description, hookimpl, option

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{farina2024frustratingly,
  title     = {Frustratingly Easy Test-Time Adaptation of Vision-Language Models},
  author    = {Farina, Matteo and Franchi, Gianni and Iacca, Giovanni and Mancini, Massimiliano and
               Ricci, Elisa},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024}
}
"""


@frozen
class Options(LayoutOptions):
    """ZERO's options, with the values of the authors."""

    views: int = option(64, "Views of an image, N: the image itself and random crops of it.", min=1)
    gamma: float = option(
        0.3, "Share of the views that is kept, those of lowest entropy.", above=0, max=1
    )
    smallest: float = option(
        0.08, "Smallest share of the image's area that a crop takes.", above=0, max=1
    )
    flip: bool = option(True, "Mirror half of the crops; not for images in which it matters.")


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Zero temperature: the most confident of many views of an image vote for its class; no"
        " parameter is updated.",
        options=Options,
        paper="Farina et al., Frustratingly Easy Test-Time Adaptation of Vision-Language Models,"
        " NeurIPS 2024",
        url="https://arxiv.org/abs/2405.18330",
        citation=CITATION,
        licence="Apache-2.0",
        expected_failures={
            "seed matters only to random methods": "the small network of the check gives all views of an"
            " image one class, whatever the crops"
        },
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that lets views vote."""
    from kdst_zero.method import Zero

    return Zero(request, options, run.device)
