"""What the paper claims of Vec2Text, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"count": 24, "controls": False, "seeds": 2}
FULL = {"count": 200, "controls": False, "seeds": 3}

CLAIMS = (
    Claim(
        name="correction-helps",
        sentence=(
            "Correcting a hypothesis step by step reads more words than the first hypothesis."
        ),
        source="table 1",
        measure="token_f1.final",
        run={"steps": 4, "beam": 1},
        against={"steps": 0, "beam": 1},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="beam-helps",
        sentence="A wider beam reads more words than a narrow one in as many steps.",
        source="table 1",
        measure="token_f1.final",
        run={"steps": 4, "beam": 4},
        against={"steps": 4, "beam": 1},
        quick=QUICK,
        full=FULL,
        known_against="the embedded inverter reads nearly everything with the narrow one",
    ),
    Claim(
        name="above-regression",
        sentence="The inverter reads more words than a linear map onto bags of words.",
        source="table 1",
        measure="token_f1.final",
        run={"steps": 4, "beam": 1},
        against={"method": "bow"},
        quick=QUICK,
        full=FULL,
    ),
)
