"""Options of Prompt-to-Prompt; imports nothing heavy."""

from typing import Literal

from attrs import frozen

from kdst_core.options import option
from kdst_edit.options import share

TAU = 0.8
"""The share of the steps in which cross-attention is injected, for words without one of their own."""


@frozen
class Options:
    """Options of Prompt-to-Prompt; the paper's names are in the help texts."""

    kind: Literal["auto", "swap", "refine"] = option(
        "auto",
        "swap (same number of words), refine (words added or removed), or auto: swap where the"
        " numbers of words agree and every word that both prompts have stays in its place.",
    )
    tau: list[str] = option(
        [f"{TAU:g}"],
        "Share of the steps in which the source's cross-attention is injected, and WORD=SHARE or"
        " WORD=FROM:TO for single words of the target (tau; cross_replace_steps).",
    )
    self_tau: float = share(
        0.4,
        "Share of the steps in which the source's self-attention is injected (self_replace_steps).",
    )
    self_factor: int = option(
        2,
        "Inject self-attention in layers at least this many times smaller than the latent: 2 as in"
        " the null-text notebook (32x32 of 64x64), 4 as in the first one.",
        min=1,
    )
    reweight: list[str] = option(
        [],
        "WORD=C: multiply the attention of a word by C, in [-2, 2]. Words are given without"
        " punctuation, in any case; WORD#2 is the second of several.",
    )
    wide: bool = option(False, "Allow weights C outside [-2, 2].")
    blend: list[str] = option(
        ["auto"],
        "LocalBlend: keep the source outside the regions of these words; none; or auto: the swapped"
        " words, and nothing where words are added or removed.",
    )
    subtract: list[str] = option([], "Words whose regions LocalBlend keeps too.")
    blend_threshold: float = share(
        0.4,
        "Share of a map's maximum above which it counts as region; .3 in the authors' notebooks,"
        " .4 keeps more of the background.",
    )
    subtract_threshold: float = share(
        0.5,
        "The same for the words subtracted; .3 in the authors' notebooks, .5 keeps less around them.",
    )
    blend_start: float = share(0.2, "Share of the steps before LocalBlend begins.")
    profile: Literal["corrected", "published"] = option(
        "corrected",
        "published: as the authors' code. corrected: LocalBlend reads the network's own maps, not"
        " those already edited, from its first step on; and words after a swap of other length"
        " keep the attention of the same words.",
    )
    explain: bool = option(False, "Print which tokens take their attention from which.")
    sweep: list[str] = option(
        [], "Make a contact sheet over one or two of tau, self_tau and c, for the first target."
    )
