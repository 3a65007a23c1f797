"""What the paper claims of EATA, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"
FOREVER = {**QUICK, "reset": "never"}

CLAIMS = (
    Claim(
        name="above-tent",
        sentence="Learning from reliable and unlike images only is more accurate than Tent.",
        source="table 2",
        measure=ACCURACY,
        against={"method": "tent"},
        quick=QUICK,
        full=FULL,
        known_against="on ten classes the published margin makes nearly no update",
    ),
    Claim(
        name="above-tent-for-long",
        sentence="Without any reset, EATA stays above Tent.",
        source="experiments on lifelong adaptation",
        measure=ACCURACY,
        against={"method": "tent"},
        quick=FOREVER,
        full={**FULL, "reset": "never"},
    ),
)
