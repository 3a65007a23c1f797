"""What the paper claims of Tent, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-source",
        sentence=(
            "Entropy minimisation is more accurate under corruption than the model that is"
            " not adapted."
        ),
        source="table 2",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-norm",
        sentence=(
            "Entropy minimisation is more accurate under corruption than statistics of the"
            " batch alone."
        ),
        source="table 2",
        measure=ACCURACY,
        against={"method": "norm"},
        quick=QUICK,
        full=FULL,
        known_against="batch statistics do nearly all of the work on the embedded digits",
    ),
)
