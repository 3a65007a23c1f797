"""What the paper claims of CoTTA, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 50, "types": "gaussian_noise,fog,contrast", "reset": "never", "seeds": 2}
FULL = {"reset": "never", "seeds": 3}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source",
        sentence=(
            "Under shifts that keep changing, CoTTA is more accurate than the model that is"
            " not adapted."
        ),
        source="table 2",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-tent",
        sentence=(
            "Under shifts that keep changing, CoTTA is more accurate than Tent, which drifts."
        ),
        source="table 2",
        measure=ACCURACY,
        against={"method": "tent"},
        quick=QUICK,
        full=FULL,
        known_against="three corruptions are too short for Tent to drift far",
    ),
)
