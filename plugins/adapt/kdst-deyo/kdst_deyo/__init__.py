"""DeYO: entropy minimisation on images whose prediction rests on the shape of the object."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_deyo.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{lee2024entropy,
  title     = {Entropy is not Enough for Test-Time Adaptation: From the Perspective of Disentangled
               Factors},
  author    = {Lee, Jonghyun and Jung, Dahuin and Lee, Saehyung and Park, Junsung
               and Shin, Juhyeon and Hwang, Uiwon and Yoon, Sungroh},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}
"""


@frozen
class Options(UpdateOptions):
    """DeYO's options, with the paper's thresholds; the optimiser is that of the other methods."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the whole batch is destroyed and predicted, so that an image and its destroyed copy"
        " are normalised by statistics of the same images. published: only images that pass tau_ent are,"
        " so that the copy's statistics depend on how many these are.",
    )
    tau_ent: float = option(
        0.5, "Learn from images whose entropy is below this share of ln C (τ_Ent).", above=0
    )
    tau_plpd: float = option(
        0.2,
        "Learn from images whose probability of the predicted class falls by more than this when the"
        " object is destroyed (τ_PLPD); the authors take .3 for a ResNet-50 with BatchNorm.",
        min=-1,
        max=1,
    )
    ent_0: float = option(
        0.4, "Entropy at which the first term of an image's weight is 1, as a share of ln C (Ent₀).",
        min=0,
    )  # fmt: skip
    destroy: Literal["patch", "pixel", "occlusion"] = option(
        "patch",
        "How the object is destroyed: patches of each image shuffled, its pixels shuffled, or a window"
        " of half the sides in the middle filled with the image's mean.",
    )
    patches: int = option(4, "Patches a row and a column, for destroy=patch.", min=2)


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Entropy minimisation on confident images whose prediction falls when the object's shape"
        " is destroyed; updates normalisation layers but the last block's.",
        options=Options,
        paper="Lee et al., Entropy is not Enough for Test-Time Adaptation, ICLR 2024",
        url="https://arxiv.org/abs/2403.07366",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        expected_failures={
            "seed matters only to random methods": "the kit's network is confident of no image, so"
            " that none is destroyed and nothing is drawn"
        },
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by DeYO."""
    from kdst_deyo.method import Deyo

    return Deyo(request, options, run.device)
