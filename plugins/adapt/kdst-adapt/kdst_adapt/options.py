"""Options that every method which updates parameters has; imports nothing heavy."""

from typing import Literal

from attrs import frozen

from kdst_core.options import option


@frozen
class LayoutOptions:
    """How images lie in memory."""

    layout: Literal["auto", "standard"] = option(
        "auto",
        "Memory layout of images: auto, the one that computes fastest, or standard (NCHW), whose"
        " float32 rounding is that of the authors' codes.",
    )


@frozen
class UpdateOptions(LayoutOptions):
    """What is updated, by which optimiser, how often. Methods inherit it and change defaults."""

    params: Literal["norm-affine", "all"] = option(
        "norm-affine",
        "Parameters to update: weights and biases of BatchNorm, GroupNorm and LayerNorm, or all.",
    )
    optimizer: Literal["adam", "sgd"] = option("adam", "Optimiser: Adam, betas (.9, .999), or SGD.")
    lr: float = option(1e-3, "Learning rate of the optimiser.", min=0)
    momentum: float = option(0.9, "Momentum of SGD.", min=0, max=1)
    steps: int = option(1, "Updates a batch.", min=1)
    episodic: bool = option(False, "Reset before every batch.")


@frozen
class SelfTrainingOptions(UpdateOptions):
    """What ROID, and methods that keep its losses, have in common; defaults of Marsden et al. (2023)."""

    profile: Literal["corrected", "published"] = option(
        "corrected",
        "corrected: the prior correction multiplies probabilities by the smoothed class prior, as Bayes'"
        " rule has it. published: it multiplies logits, as the authors' code does, so that a frequent"
        " class with a negative logit loses.",
    )
    temperature: float = option(1 / 3, "Temperature of the weights of images (τ).", above=0)
    momentum_probs: float = option(
        0.9,
        "Share of the old mean in the running mean of predictions, from which images must differ (β).",
        min=0,
        max=1,
    )
    flip: bool = option(
        False,
        "Mirror half of the augmented batches. Off, a departure from the paper, whose photographs"
        " may be mirrored: the digits that kdst brings may not.",
    )
