"""What the paper claims of Toolformer, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"documents": 200, "problem_count": 60, "held_out_count": 40, "seeds": 4}
FULL = {"seeds": 3}

CLAIMS = (
    Claim(
        name="filter-picks-helpful-calls",
        sentence=(
            "Of the calls that the filter keeps, far more are useful than of those that were"
            " sampled; here half at least."
        ),
        source="section 2 and table 10",
        measure="filter.precision",
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="tools-raise-exact-match",
        sentence=(
            "The finetuned model solves more problems with its tools than with tools switched off."
        ),
        source="tables 4 and 5",
        measure="exact.after - exact.disabled",
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="finetuning-raises-exact-match",
        sentence="The finetuned model solves more problems than the model before.",
        source="tables 4 and 5",
        measure="exact.after - exact.before",
        quick=QUICK,
        full=FULL,
        known_against="200 texts teach little; docs measure 3,000",
    ),
    Claim(
        name="calls-where-they-help",
        sentence="Without being told, the model calls a tool for most problems that need one.",
        source="section 4.2",
        measure="calls.after.made",
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="perplexity-does-not-suffer",
        sentence="Finetuning with calls costs no perplexity on plain texts, within a twentieth.",
        source="table 8",
        measure="perplexity.plain.after - perplexity.plain.before",
        better="lower",
        least=-0.05,
        quick=QUICK,
        full=FULL,
    ),
)
