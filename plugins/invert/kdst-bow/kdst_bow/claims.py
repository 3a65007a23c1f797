"""What the paper claims of bags of words, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"count": 24, "controls": False, "seeds": 3}
FULL = {"seeds": 3}

CLAIMS = (
    Claim(
        name="words-can-be-read",
        sentence=(
            "The words of a text can be read from its embedding, above what other texts"
            " share by chance."
        ),
        source="black-box inversion",
        measure="token_f1.final",
        least=0.2,
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="search-helps",
        sentence=(
            "Asking the embedder for better words reads more than the linear map alone (an"
            " addition here)."
        ),
        source="none, an addition",
        measure="token_f1.final",
        against={"budget": 0},
        quick=QUICK,
        full=FULL,
    ),
)
