"""What the paper claims of FOA, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 100, "seeds": 1}
FULL = {"seeds": 3}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source",
        sentence="FOA is more accurate than the model that is not adapted.",
        source="experiments on ImageNet-C",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-tent",
        sentence="Without a gradient, FOA is more accurate than Tent, which needs one.",
        source="experiments on ImageNet-C",
        measure=ACCURACY,
        against={"method": "tent"},
        quick=QUICK,
        full=FULL,
        known_to_fail=(
            "the paper's networks are vision transformers; the embedded one has no tokens for prompts,"
            " and BatchNorm, which batch statistics repair"
        ),
    ),
)
