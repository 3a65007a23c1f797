"""EATA and ETA: entropy minimisation on reliable, non-redundant images."""

from typing import Literal

from attrs import frozen

from kdst_adapt.options import UpdateOptions
from kdst_core import option

PAPER = "Niu et al., Efficient Test-Time Model Adaptation without Forgetting, ICML 2022"
URL = "https://arxiv.org/abs/2204.02610"
CITATION = """
@inproceedings{niu2022efficient,
  title     = {Efficient Test-Time Model Adaptation without Forgetting},
  author    = {Niu, Shuaicheng and Wu, Jiaxiang and Zhang, Yifan and Chen, Yaofo
               and Zheng, Shijian and Zhao, Peilin and Tan, Mingkui},
  booktitle = {International Conference on Machine Learning},
  year      = {2022}
}
"""


@frozen
class EtaOptions(UpdateOptions):
    """ETA's options, with the defaults of the paper."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the entropy margin is a share of ln(number of classes), and a reset also forgets"
        " the mean prediction. published: a share of ln 1000 for any number of classes, so that on 10"
        " classes no image is ever filtered out by it, and distance .05, with which few or no images"
        " are left after the first batch; a reset keeps the mean prediction.",
    )
    margin: float = option(
        0.4, "Learn from images whose entropy is below this share of ln C (see profile).", above=0
    )
    distance: float | None = option(
        None,
        "Learn from images whose |cosine| with the mean prediction is below this. Default: .05 in the"
        " published profile and from 200 classes on, else .4, the paper's value for CIFAR-10.",
        min=0,
    )


@frozen
class EataOptions(EtaOptions):
    """EATA's options: ETA's, and the anchor that keeps what was learnt in training."""

    fisher_weight: float = option(
        2000.0, "Weight of the anchor: Σ F (θ - θ₀)² with F from source data.", min=0
    )
    fisher_images: int = option(2000, "Source images for the Fisher information, at most.", min=1)
