"""What the paper claims of CMF, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="above-roid",
        sentence=(
            "A source model that is refined by filtering does better than the fixed one of ROID."
        ),
        source="experiments on continual shifts",
        measure=ACCURACY,
        against={"method": "roid"},
        quick={**QUICK, "reset": "never"},
        full={**FULL, "reset": "never"},
    ),
)
