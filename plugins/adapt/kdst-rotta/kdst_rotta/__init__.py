"""RoTTA: robust statistics, a balanced memory and a slow teacher, for correlated changing streams."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_rotta.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{yuan2023robust,
  title     = {Robust Test-Time Adaptation in Dynamic Scenarios},
  author    = {Yuan, Longhui and Xie, Binhui and Li, Shuang},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year      = {2023}
}
"""


@frozen
class Options(UpdateOptions):
    """RoTTA's options, with the defaults of the paper."""

    steps: int = option(1, "Updates each time the memory is learnt from.", min=1)
    alpha: float = option(
        0.05, "Share of the memory's statistics in BatchNorm's moving ones (α).", min=0, max=1
    )
    nu: float = option(
        0.001, "Share of the student's weights in the teacher's moving average (ν).", min=0, max=1
    )
    capacity: int = option(64, "Images in the memory, at most (N).", min=1)
    update_frequency: int = option(64, "Images seen from one update to the next.", min=1)
    lambda_t: float = option(1.0, "Weight of age in what is dropped from the memory (λ_t).", min=0)
    lambda_u: float = option(
        1.0, "Weight of uncertainty in what is dropped from the memory (λ_u).", min=0
    )
    flip: bool = option(
        False,
        "Mirror half of the augmented batches. Off, a departure from the paper, whose photographs"
        " may be mirrored: the digits that kdst brings may not.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="A student learns from a slow teacher on a class-balanced memory of recent, certain"
        " images; BatchNorm follows the memory's statistics slowly.",
        options=Options,
        paper="Yuan et al., Robust Test-Time Adaptation in Dynamic Scenarios, CVPR 2023",
        url="https://arxiv.org/abs/2303.13899",
        citation=CITATION,
        licence="Apache-2.0",
        claims=CLAIMS,
        needs=["gradients"],
        expected_failures={
            "seed matters only to random methods": "draws from the first update on, after 64 images;"
            " the small run of the check has 24"
        },
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by RoTTA."""
    from kdst_rotta.method import Rotta

    return Rotta(request, options, run.device)
