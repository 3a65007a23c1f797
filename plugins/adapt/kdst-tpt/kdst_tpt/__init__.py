"""TPT: the words before a class's name, tuned for each image so that its views agree."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core import Description, hookimpl, option

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{shu2022test,
  title     = {Test-Time Prompt Tuning for Zero-Shot Generalization in Vision-Language Models},
  author    = {Shu, Manli and Nie, Weili and Huang, De-An and Yu, Zhiding and Goldstein, Tom
               and Anandkumar, Anima and Xiao, Chaowei},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022}
}
"""


@frozen
class Options:
    """TPT's options, with the values of the paper for ImageNet's variants."""

    context: str = option(
        "a photo of a", "Words before the name of the class; their token embeddings are tuned."
    )
    views: int = option(64, "Views of an image, N: the image itself and random crops of it.", min=1)
    rho: float = option(
        0.1, "Share of the views that is kept, those of lowest entropy (ρ).", above=0, max=1
    )
    steps: int = option(1, "Updates an image; 0 leaves the context as it is.", min=0)
    lr: float = option(5e-3, "Learning rate of AdamW.", min=0)
    augmix: bool = option(
        False,
        "Mix augmentations into the crops (AugMix), as the paper does for fine-grained classes.",
    )
    smallest: float = option(
        0.08, "Smallest share of the image's area that a crop takes.", above=0, max=1
    )
    flip: bool = option(True, "Mirror half of the crops; not for images in which it matters.")


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Test-time prompt tuning: one step on the entropy of the mean prediction over the most"
        " confident views tunes the prompts of a CLIP-like model for one image.",
        options=Options,
        paper="Shu et al., Test-Time Prompt Tuning for Zero-Shot Generalization in Vision-Language"
        " Models, NeurIPS 2022",
        url="https://arxiv.org/abs/2209.07511",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients", "text"],
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that tunes prompts."""
    from kdst_tpt.method import Tpt

    return Tpt(request, options, run.device)
