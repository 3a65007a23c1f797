"""SAR: sharpness-aware entropy minimisation on reliable images."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_sar.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{niu2023towards,
  title     = {Towards Stable Test-Time Adaptation in Dynamic Wild World},
  author    = {Niu, Shuaicheng and Wu, Jiaxiang and Zhang, Yifan and Wen, Zhiquan
               and Chen, Yaofo and Zhao, Peilin and Tan, Mingkui},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}
"""


@frozen
class Options(UpdateOptions):
    """SAR's options, with the defaults of the comparison in TEA's paper."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: margin and reset_below are relative to ln(number of classes); a reset also forgets"
        " momentum and running loss; no step without reliable images. published: both are relative to"
        " ln 1000 for any number of classes; a reset keeps the momentum of SGD, and after a collapse"
        " the low running loss, so that every later batch resets again.",
    )
    optimizer: Literal["adam", "sgd"] = option("sgd", "Optimiser after the ascent: SGD, or Adam.")
    lr: float = option(0.01, "Learning rate of the optimiser.", min=0)
    margin: float = option(
        0.4, "Learn from images whose entropy is below this share of ln C (see profile).", above=0
    )
    rho: float = option(0.05, "Length of the ascent to the sharpest neighbour.", min=0)
    reset_below: float = option(
        0.2,
        "Reset when the running loss falls below this many nats, for 1000 classes (see profile).",
        min=0,
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Sharpness-aware entropy minimisation on reliable images, with a reset when the model"
        " is about to collapse; updates normalisation layers but the last block's.",
        options=Options,
        paper="Niu et al., Towards Stable Test-Time Adaptation in Dynamic Wild World, ICLR 2023",
        url="https://arxiv.org/abs/2302.12400",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        random=False,
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by SAR."""
    from kdst_sar.method import Sar

    return Sar(request, options, run.device)
