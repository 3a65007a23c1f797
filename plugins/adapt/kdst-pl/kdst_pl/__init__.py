"""PL: pseudo-labelling, the classifier trained on its own confident predictions."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_pl.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{lee2013pseudo,
  title     = {Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method
               for Deep Neural Networks},
  author    = {Lee, Dong-Hyun},
  booktitle = {ICML Workshop on Challenges in Representation Learning},
  year      = {2013}
}
"""


@frozen
class Options(UpdateOptions):
    """Options of pseudo-labelling, with the defaults of the comparison in TEA's paper."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "Which statistics BatchNorm takes. corrected: those of the batch, as in every method it is"
        " compared with, and no step when no image is confident. published: those of training, under"
        " which it stays near source, and a step of momentum alone when no image is confident.",
    )
    params: Literal["norm-affine", "all"] = option(
        "all", "Parameters to update: all, or weights and biases of normalisation layers."
    )
    lr: float = option(1e-5, "Learning rate of the optimiser.", min=0)
    threshold: float = option(
        0.9, "Learn from images whose largest probability is above this.", min=0, max=1
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Pseudo-labelling: one step a batch of cross-entropy to the predicted class of confident"
        " images, updating all parameters.",
        options=Options,
        paper="Lee, Pseudo-Label, ICML Workshop on Challenges in Representation Learning 2013",
        url="https://arxiv.org/abs/2311.14402",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        random=False,
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by pseudo-labelling."""
    from kdst_pl.method import Pl

    return Pl(request, options, run.device)
