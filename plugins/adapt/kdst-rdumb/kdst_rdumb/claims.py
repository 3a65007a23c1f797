"""What the paper claims of RDumb, as runs that try it."""

from kdst_core.contracts import Claim

ACCURACY = "accuracy.mean"

CLAIMS = (
    Claim(
        name="as-good-as-cotta-for-long",
        sentence=(
            "On a continual stream, ETA that is reset at intervals is no worse than CoTTA,"
            " within a point."
        ),
        source="experiments on continually changing corruptions",
        measure=ACCURACY,
        against={"method": "cotta"},
        least=-0.01,
        quick={"images": 50, "types": "gaussian_noise,fog,contrast", "reset": "never", "seeds": 2},
        full={"reset": "never", "seeds": 3},
        known_against="so short a stream sees no reset",
    ),
)
