"""What the paper claims of SANTA, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 100, "types": "gaussian_noise,fog,contrast", "reset": "never", "seeds": 2}
FULL = {"reset": "never", "seeds": 3}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source",
        sentence=(
            "Under shifts that keep changing, SANTA is more accurate than the model that is not"
            " adapted."
        ),
        source="experiments on continually changing corruptions",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-norm",
        sentence="There it is more accurate than statistics of the batch alone.",
        source="experiments on continually changing corruptions",
        measure=ACCURACY,
        against={"method": "norm"},
        quick=QUICK,
        full=FULL,
        known_against="two batches a corruption leave little time to learn in",
    ),
)
