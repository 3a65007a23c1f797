"""What the paper claims of Prompt-to-Prompt, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"steps": 20, "seeds": 5}
FULL = {"seeds": 32}
KEPT = "background_psnr"

CLAIMS = (
    Claim(
        name="keeps-the-rest",
        sentence=(
            "Injected attention keeps what the changed word does not name, compared with"
            " sampling anew."
        ),
        source="figure 2 and section 3.2",
        measure="background_psnr - plain.background_psnr",
        least=3.0,
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="keeps-the-rest-on-a-flow",
        sentence=(
            "Injected attention keeps what the changed word does not name, in a flow transformer"
            " as in a UNet."
        ),
        source="section 3.2; not in the paper: joint attention",
        measure="background_psnr - plain.background_psnr",
        least=3.0,
        run={"model": "tiny-flow"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="tau-trades-structure",
        sentence=(
            "The longer the source's cross-attention is injected, the more of the source is kept."
        ),
        source="section 3.2 and figure 6",
        measure=KEPT,
        run={"blend": "none"},
        against={"tau": "0", "self_tau": 0.0, "blend": "none"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="reweighting-scales",
        sentence="Weights from -2 to 2 weaken or strengthen what a word names.",
        source="section 3.2, attention re-weighting",
        measure="says.colour",
        run={"reweight": "blue=2"},
        against={"reweight": "blue=-2"},
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="blend-confines",
        sentence="Blending confines an edit to the regions of the words that are swapped.",
        source="local editing, section 3.2",
        measure=KEPT,
        against={"blend": "none"},
        quick=QUICK,
        full=FULL,
    ),
)
