"""What the paper claims of DeYO, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-tent",
        sentence=(
            "Leaving out images whose prediction does not rest on shape makes DeYO more"
            " accurate than Tent."
        ),
        source="experiments under mild shifts",
        measure=ACCURACY,
        against={"method": "tent"},
        quick=QUICK,
        full=FULL,
    ),
)
