"""What the paper claims of TEA, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"images": 300, "seeds": 3}
FULL = {"seeds": 5}
ACCURACY = "accuracy.mean"
ENERGY = {"images": 50, "study": "energy", "seeds": 5}

CLAIMS = (
    Claim(
        name="above-source",
        sentence="TEA is more accurate under corruption than the model that is not adapted.",
        source="table 1",
        measure=ACCURACY,
        against={"method": "source"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="above-norm",
        sentence="TEA is more accurate under corruption than statistics of the batch alone.",
        source="table 1",
        measure=ACCURACY,
        against={"method": "norm"},
        quick=QUICK,
        full=FULL,
        known_against="batch statistics do nearly all of the work on the embedded digits",
    ),
    Claim(
        name="above-tent",
        sentence="TEA is more accurate under corruption than entropy minimisation (Tent).",
        source="table 1",
        measure=ACCURACY,
        against={"method": "tent"},
        quick=QUICK,
        full=FULL,
        known_against="batch statistics do nearly all of the work on the embedded digits",
    ),
    Claim(
        name="above-eata",
        sentence="TEA is more accurate under corruption than EATA.",
        source="table 1",
        measure=ACCURACY,
        against={"method": "eata"},
        quick=QUICK,
        full=FULL,
        known_against="batch statistics do nearly all of the work on the embedded digits",
    ),
    Claim(
        name="above-sar",
        sentence="TEA is more accurate under corruption than SAR.",
        source="table 1",
        measure=ACCURACY,
        against={"method": "sar"},
        quick=QUICK,
        full=FULL,
        known_against="batch statistics do nearly all of the work on the embedded digits",
    ),
    Claim(
        name="better-calibrated",
        sentence="TEA has a lower expected calibration error than entropy minimisation (Tent).",
        source="experiments on calibration",
        measure="ece.*",
        against={"method": "tent"},
        better="lower",
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="better-calibrated-than-source",
        sentence="TEA has a lower expected calibration error than the model that is not adapted.",
        source="experiments on calibration",
        measure="ece.*",
        against={"method": "source"},
        better="lower",
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="energy-goes-with-accuracy",
        sentence="Where TEA reduces the energy of the test data more, accuracy rises more.",
        source="experiments on energy reduction and generalisation",
        measure="study.correlation.accuracy",
        quick=ENERGY,
        full={"study": "energy", "seeds": 5},
    ),
    Claim(
        name="energy-goes-with-loss",
        sentence="Where TEA reduces the energy of the test data more, the loss falls more.",
        source="experiments on energy reduction and generalisation",
        measure="study.correlation.loss",
        quick=ENERGY,
        full={"study": "energy", "seeds": 5},
    ),
    Claim(
        name="norm-layers-suffice",
        sentence=(
            "Updating normalisation layers alone is as good as updating every parameter,"
            " within a point."
        ),
        source="section on the adaptation of normalisation layers",
        measure=ACCURACY,
        against={"params": "all"},
        least=-0.01,
        quick=QUICK,
        full=FULL,
    ),
)
