"""Tent: normalisation layers updated until predictions are confident."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_tent.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{wang2021tent,
  title     = {Tent: Fully Test-Time Adaptation by Entropy Minimization},
  author    = {Wang, Dequan and Shelhamer, Evan and Liu, Shaoteng and Olshausen, Bruno and Darrell, Trevor},
  booktitle = {International Conference on Learning Representations},
  year      = {2021}
}
"""


@frozen
class Options(UpdateOptions):
    """Tent's options, with the defaults of its CIFAR-10 experiments."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "Both are the same algorithm: nothing in the published code of Tent needs correction.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Entropy minimisation: one step a batch on the mean entropy of the predictions, updating"
        " normalisation layers only.",
        options=Options,
        paper="Wang et al., Tent: Fully Test-Time Adaptation by Entropy Minimization, ICLR 2021",
        url="https://arxiv.org/abs/2006.10726",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        random=False,
        expected_failures={
            "every option is used": "both profiles are one algorithm, so --profile changes nothing"
        },
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by Tent."""
    from kdst_tent.method import Tent

    return Tent(request, options, run.device)
