"""TDA: caches of confident and of uncertain images' features correct the logits; nothing is trained."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import LayoutOptions
from kdst_core import Description, hookimpl, option

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{karmanov2024efficient,
  title     = {Efficient Test-Time Adaptation of Vision-Language Models},
  author    = {Karmanov, Adilbek and Guan, Dayan and Lu, Shijian and El Saddik, Abdulmotaleb and Xing, Eric},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}
"""


@frozen
class Options(LayoutOptions):
    """TDA's options, with the values of the authors for ImageNet."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the entropy that opens the negative cache is a share of its maximum, ln C."
        " published: as the authors' code, which divides nats by log2 C, so that the share ends at .69.",
    )
    capacity: int = option(3, "Images of a class that the positive cache holds.", min=1)
    alpha: float = option(2.0, "Weight of the positive cache.", min=0)
    beta: float = option(5.0, "Sharpness of likeness to the positive cache.", min=0)
    negative_capacity: int = option(2, "Images of a class that the negative cache holds.", min=1)
    negative_alpha: float = option(0.117, "Weight of the negative cache; 0 leaves it out.", min=0)
    negative_beta: float = option(1.0, "Sharpness of likeness to the negative cache.", min=0)
    entropy_low: float = option(
        0.2, "Share of the largest entropy above which the negative cache takes an image.", min=0
    )
    entropy_high: float = option(0.5, "Share below which it takes one.", min=0, max=1)
    mask_low: float = option(
        0.03, "Probability above which a class counts for an image of the negative cache.", min=0
    )
    mask_high: float = option(1.0, "Probability below which it does.", min=0, max=1)


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Training-free dynamic adapter: features of confident and of uncertain images, kept by"
        " class, correct the logits of CLIP-like models; no parameter is updated.",
        options=Options,
        paper="Karmanov et al., Efficient Test-Time Adaptation of Vision-Language Models, CVPR 2024",
        url="https://arxiv.org/abs/2403.18293",
        citation=CITATION,
        licence="Apache-2.0",
        random=False,
        expected_failures={
            "the place in the batch changes nothing": "each image is corrected by those before it"
        },
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that corrects by TDA."""
    from kdst_tda.method import Tda

    return Tda(request, options, run.device)
