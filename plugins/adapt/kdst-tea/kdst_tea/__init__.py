"""TEA: test-time energy adaptation, a classifier pulled towards the energy of the test data."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import Description, hookimpl, option
from kdst_tea.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{yuan2024tea,
  title     = {{TEA}: Test-time Energy Adaptation},
  author    = {Yuan, Yige and Xu, Bingbing and Hou, Liang and Sun, Fei and Shen, Huawei and Cheng, Xueqi},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}
"""


@frozen
class Options(UpdateOptions):
    """TEA's options, with the defaults of the paper's CIFAR-10 experiments."""

    profile: Literal["corrected", "published", "fast"] = option(
        "corrected",
        "What a reset restores, and how samples are drawn. corrected: everything. published:"
        " parameters and optimiser only, as in the authors' code, where replay buffer and random state"
        " run on. fast: as corrected, with few long steps of SGLD in place of many short ones, and fewer"
        " samples.",
    )
    sgld_steps: int | None = option(
        None,
        "Steps of SGLD that draw the model's samples. Default: 20; 2 in the fast profile.",
        min=1,
    )
    sgld_lr: float | None = option(
        None, "Step size of SGLD along the gradient. Default: .1; 1 in the fast profile.", min=0
    )
    sgld_std: float = option(0.01, "Standard deviation of SGLD's noise.", min=0)
    sgld_samples: float | None = option(
        None,
        "Samples drawn for each image of a batch. Default: 1; .5 in the fast profile.",
        min=0.01,
        max=10,
    )
    sampling_dtype: Literal["float32", "bfloat16"] = option(
        "float32",
        "Precision of the steps of SGLD: the model's own (float32), or bfloat16 by autocast, for"
        " processors that have it.",
    )
    buffer_size: int = option(10_000, "Samples in the replay buffer.", min=1)
    reinit: float = option(
        0.05, "Share of samples that start anew, not from the buffer.", min=0, max=1
    )
    init_low: float = option(-1.0, "Lower end of the uniform distribution of new samples.")
    init_high: float = option(1.0, "Upper end of the uniform distribution of new samples.")
    clamp: bool = option(False, "Clamp samples to [0, 1] after every step of SGLD.")
    conditional: bool = option(
        False, "Sample from p(x | y) with y drawn uniformly, instead of p(x)."
    )

    @property
    def schedule(self) -> tuple[int, float]:
        """Steps and step size of SGLD; both schedules go the same distance."""
        steps, lr = (2, 1.0) if self.profile == "fast" else (20, 0.1)
        return self.sgld_steps or steps, lr if self.sgld_lr is None else self.sgld_lr

    @property
    def share(self) -> float:
        """Samples drawn for each image of a batch."""
        return self.sgld_samples or (0.5 if self.profile == "fast" else 1.0)

    def __attrs_post_init__(self) -> None:
        used = (*self.schedule, self.share)
        for name, value in zip(("sgld_steps", "sgld_lr", "sgld_samples"), used, strict=True):
            object.__setattr__(self, name, value)  # the result shows what was used
        if self.init_low >= self.init_high:
            raise ValueError(f"init_low must be below init_high, {self.init_high:g}")


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Test-time energy adaptation: raises the model's density of the test data by"
        " contrastive divergence, updating normalisation layers only.",
        options=Options,
        paper="Yuan et al., TEA: Test-time Energy Adaptation, CVPR 2024",
        url="https://arxiv.org/abs/2311.14402",
        citation=CITATION,
        licence="Apache-2.0",
        needs=["gradients"],
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that adapts by TEA."""
    from kdst_tea.method import Tea

    return Tea(request, options, run.device)
