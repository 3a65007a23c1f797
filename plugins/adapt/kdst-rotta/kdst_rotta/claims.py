"""What the paper claims of RoTTA, as runs that try it."""

from kdst_core.contracts import Claim

STREAM = {"reset": "never", "dirichlet": 0.1}
QUICK = {**STREAM, "types": "gaussian_noise,impulse_noise", "seeds": 2}
FULL = {**STREAM, "seeds": 3}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-norm-under-label-shift",
        sentence=(
            "Where shifts change and labels of the stream are correlated, RoTTA is more accurate"
            " than statistics of the batch."
        ),
        source="experiments on practical streams",
        measure=ACCURACY,
        against={"method": "norm"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-source-under-label-shift",
        sentence="There it is more accurate than the model that is not adapted, too.",
        source="experiments on practical streams",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
)
