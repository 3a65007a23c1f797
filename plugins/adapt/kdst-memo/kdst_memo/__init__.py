"""Marginal entropy over augmentations of one image at a time."""

from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core import Description, hookimpl, option
from kdst_memo.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{zhang2022memo,
  title     = {MEMO: Test Time Robustness via Adaptation and Augmentation},
  author    = {Zhang, Marvin and Levine, Sergey and Finn, Chelsea},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022}
}
"""


@frozen
class Options:
    """Options of memo, with the paper's defaults for CIFAR-10."""

    augmentations: int = option(32, "Augmented copies of each image (B).", min=1)
    lr: float = option(0.005, "Learning rate of SGD (η); all parameters are updated.", min=0)
    steps: int = option(1, "Updates an image.", min=1)
    prior: float = option(
        16.0,
        "BatchNorm mixes this many parts of the statistics of training (N) with one part of those of"
        " the images it is given, as the paper's ResNet-50 does; inf leaves those of training.",
        min=0,
        infinite=True,
    )
    strength: float = option(
        1.0, "How strong each augmentation may be, of 10, as in AugMix.", above=0, max=10
    )
    flip: bool = option(
        False,
        "Mirror half of the copies. Off, a departure from the paper, whose photographs may be"
        " mirrored: the digits that kdst brings may not.",
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Marginal entropy over augmentations of one image at a time.",
        options=Options,
        paper="Zhang et al., MEMO: Test Time Robustness via Adaptation and Augmentation,"
        " NeurIPS 2022",
        url="https://arxiv.org/abs/2110.09506",
        citation=CITATION,
        licence="Apache-2.0",
        needs={"gradients"},
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts to every image anew."""
    from kdst_memo.method import Memo

    return Memo(request, options, run.device)
