"""What the paper claims of SEGA, as runs that try it."""

from kdst_core.contracts import Claim

QUICK = {"steps": 20, "seeds": 5}
FULL = {"seeds": 32}

CLAIMS = (
    Claim(
        name="rest-stays",
        sentence=(
            "Guidance by a concept's direction leaves the rest of the image more alike than"
            " sampling anew."
        ),
        source="section 4",
        measure="background_psnr - plain.background_psnr",
        quick=QUICK,
        full=FULL,
        known_to_fail=(
            "the embedded model knows whole captions only, so a concept is more than what is to"
            " change, and its latents are pixels, which nothing smooths"
        ),
    ),
    Claim(
        name="edit-arrives",
        sentence="The concept is seen in more than half of the images.",
        source="section 4 and user studies",
        measure="success",
        least=0.5,
        quick=QUICK,
        full=FULL,
    ),
)
