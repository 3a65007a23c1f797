"""LAME: predictions of a batch made to agree between neighbours; the model stays as it is."""

from typing import TYPE_CHECKING, Literal

from attrs import frozen

from kdst_adapt.options import LayoutOptions
from kdst_core import Description, hookimpl, option
from kdst_lame.claims import CLAIMS

if TYPE_CHECKING:
    from kdst_core.contracts import AdaptRequest, OnlinePredictor, RunServices

CITATION = """
@inproceedings{boudiaf2022parameter,
  title     = {Parameter-free Online Test-time Adaptation},
  author    = {Boudiaf, Malik and Mueller, Romain and Ben Ayed, Ismail and Bertinetto, Luca},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year      = {2022}
}
"""


@frozen
class Options(LayoutOptions):
    """LAME's options, with the defaults of the paper."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: an image is never its own neighbour, affinities are made symmetric, the width of"
        " rbf is the distance to the k-th other image, and the energy that ends the iterations is that"
        " of the newest assignment. published: as the authors' code, where the nearest image is taken"
        " for the image itself, affinities to neighbours are one-sided, and the energy mixes two steps.",
    )
    affinity: Literal["knn", "rbf", "linear"] = option(
        "knn",
        "Affinity w of two images: 1 to the k nearest neighbours (knn), Gaussian of their distance"
        " (rbf), or the product of their features (linear).",
    )
    k: int = option(5, "Neighbours of an image, for knn and for the width of rbf.", min=1)
    features: Literal["penultimate", "logits"] = option(
        "penultimate",
        "What distances are measured between: inputs of the last linear layer, or logits, for models"
        " that end otherwise.",
    )
    iterations: int = option(100, "Iterations of a batch, at most.", min=1)
    tolerance: float = option(
        1e-8, "Stop when the energy changes by no more than this share.", min=0
    )


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Laplacian-adjusted maximum likelihood: corrects the predictions of a batch so that"
        " neighbours in feature space agree; no parameter is updated.",
        options=Options,
        paper="Boudiaf et al., Parameter-free Online Test-time Adaptation, CVPR 2022",
        url="https://arxiv.org/abs/2201.05718",
        citation=CITATION,
        licence="Apache-2.0",
        random=False,
        claims=CLAIMS,
    )


@hookimpl
def adapt(request: "AdaptRequest", options: Options, run: "RunServices") -> "OnlinePredictor":
    """Return a predictor that corrects by LAME."""
    from kdst_lame.method import Lame

    return Lame(request, options, run.device)
