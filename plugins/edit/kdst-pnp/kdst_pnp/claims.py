"""What the paper claims of Plug-and-Play, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"steps": 20, "seeds": 5}
FULL = {"seeds": 32}

CLAIMS = (
    Claim(
        name="keeps-structure",
        sentence=(
            "Injected features and self-attention keep the layout of the source, compared"
            " with sampling anew."
        ),
        source="figures 4 and 7",
        measure="mask_iou - plain.mask_iou",
        quick=QUICK,
        full=FULL,
    ),
    Claim(
        name="features-pay",
        sentence="Features of the decoder keep more of the layout than self-attention alone.",
        source="section 4, ablation",
        measure="mask_iou",
        against={"pnp_f_t": 0.0},
        quick=QUICK,
        full=FULL,
    ),
)
