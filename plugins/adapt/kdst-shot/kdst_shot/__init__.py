"""SHOT: information maximisation with pseudo-labels, online."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_shot.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{liang2020shot,
  title     = {Do We Really Need to Access the Source Data?
               Source Hypothesis Transfer for Unsupervised Domain Adaptation},
  author    = {Liang, Jian and Hu, Dapeng and Feng, Jiashi},
  booktitle = {International Conference on Machine Learning},
  year      = {2020}
}
"""


@frozen
class Options(UpdateOptions):
    """SHOT's options, with the defaults of the comparison in TEA's paper."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "What happens when no image is confident. corrected: the pseudo-label term is left out."
        " published: it is NaN in the loss and 0 in the gradient, as in the authors' code of TEA.",
    )
    threshold: float = option(
        0.9, "Pseudo-label images whose largest probability is above this.", min=0, max=1
    )
    weight: float = option(0.3, "Weight of the pseudo-label term.", min=0)


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Information maximisation: confident predictions for each image, balanced classes over the"
        " batch, and pseudo-labels, updating normalisation layers.",
        options=Options,
        paper="Liang et al., Do We Really Need to Access the Source Data?, ICML 2020",
        url="https://arxiv.org/abs/2002.08546",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        random=False,
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by SHOT."""
    from kdst_shot.method import Shot

    return Shot(request, options, run.device)
