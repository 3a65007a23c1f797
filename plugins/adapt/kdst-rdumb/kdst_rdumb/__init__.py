"""RDumb: ETA that goes back to the source model at regular intervals."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_rdumb.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{press2023rdumb,
  title     = {RDumb: A simple approach that questions our progress in continual test-time adaptation},
  author    = {Press, Ori and Schneider, Steffen and K{\\"u}mmerer, Matthias and Bethge, Matthias},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}
"""


@frozen
class Options(UpdateOptions):
    """RDumb's options, with the defaults of the paper."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the entropy margin is a share of ln(number of classes). published: a share of"
        " ln 1000 for any number of classes, so that on 10 classes no image is ever filtered out by"
        " it, and distance .05, with which few or no images are left after the first batch.",
    )
    optimizer: Literal["adam", "sgd"] = option("sgd", "Optimiser: SGD, or Adam.")
    lr: float = option(2.5e-4, "Learning rate of the optimiser.", min=0)
    reset_every: int = option(
        1000, "Updates after which model and optimiser go back to the start (T).", min=1
    )
    margin: float = option(
        0.4, "Learn from images whose entropy is below this share of ln C (see profile).", above=0
    )
    distance: float | None = option(
        None,
        "Learn from images whose |cosine| with the mean prediction is below this. Default: .05 in the"
        " published profile and from 200 classes on, else .4, ETA's value for CIFAR-10.",
        min=0,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="ETA's entropy minimisation on chosen images, with a full reset of model and optimiser"
        " every 1,000 updates.",
        options=Options,
        paper="Press et al., RDumb: A simple approach that questions our progress in continual"
        " test-time adaptation, NeurIPS 2023",
        url="https://arxiv.org/abs/2306.05401",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        random=False,
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by RDumb."""
    from kdst_rdumb.method import RDumb

    return RDumb(request, options, run.device)
