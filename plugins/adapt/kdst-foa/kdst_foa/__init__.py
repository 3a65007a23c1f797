"""FOA: prompts found by an evolution strategy and features shifted to the source, without a gradient."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import LayoutOptions
from kdst_core import Description, hookimpl, option
from kdst_foa.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{niu2024test,
  title     = {Test-Time Model Adaptation with Only Forward Passes},
  author    = {Niu, Shuaicheng and Miao, Chunyan and Chen, Guohao and Wu, Pengcheng
               and Zhao, Peilin},
  booktitle = {International Conference on Machine Learning},
  year      = {2024}
}
"""


@frozen
class Options(LayoutOptions):
    """FOA's options, with the paper's values for ImageNet-C."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the running mean takes the chosen features of the newest batch in before that batch"
        " is shifted by it (equations 8 and 9). published: a batch is shifted by the mean of those before"
        " it, the first by none, and the mean takes in the features under all candidates, as in the"
        " authors' code.",
    )
    prompts: int | None = option(
        None,
        "Tokens put behind the class token (N_p). Default: 3 for networks with blocks of tokens, 0 for"
        " others, which have activation shifting alone.",
        min=0,
    )
    popsize: int | None = option(
        None,
        "Candidates an update, besides the best prompts so far. Default: 4 + 3 ln(size of the prompts),"
        " 27 for a ViT-B.",
        min=4,
    )
    trade_off: float = option(
        0.4,
        "Weight of the activations' discrepancy in the fitness, for 64 images (λ); .2 for ImageNet-R.",
        min=0,
    )
    gamma: float = option(1.0, "Length of the shift to the source (γ).", min=0)
    alpha: float = option(
        0.1, "Share of the newest batch in the running mean of features (α).", min=0, max=1
    )
    interval: int = option(
        16,
        "Images that an update needs at least (I): smaller batches are predicted under the best prompts"
        " so far, and kept until there are so many.",
        min=2,
    )
    source_images: int = option(
        2000, "Source images for the activations' statistics, at most; 32 do.", min=2
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Forward passes only: prompts of a vision transformer found by CMA-ES, and features"
        " shifted back to the source's; changes no weight.",
        options=Options,
        paper="Niu et al., Test-Time Model Adaptation with Only Forward Passes, ICML 2024",
        url="https://arxiv.org/abs/2404.01650",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["source"],
        claims=CLAIMS,
        expected_failures={
            "seed matters only to random methods": "the kit's network has no tokens, so that no prompts"
            " are drawn"
        },
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by FOA."""
    from kdst_foa.method import Foa

    return Foa(request, options, run.device)
