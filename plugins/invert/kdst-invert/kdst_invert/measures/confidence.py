"""From which cosine on a recovered text is a finding; below it is a guess of the inverter.

Calibrated with the embedded inverter (beam 2, 2 steps) on 180 vectors of notes under Gaussian noise of
λ = 0, .01, .02, .03 and .05, and on 30 sentences of other kinds. `Calibration` holds what was counted.
"""

from attrs import frozen

FINDING = 0.85
RIGHT = 0.8
"""Unit F1 from which a text counted as right in the calibration."""


@frozen
class Calibration:
    """Texts on one side of `FINDING`: how many there were, were right, and had the full name."""

    texts: int
    right: int
    names: int


FOUND = Calibration(117, 116, 109)
GUESSED = Calibration(93, 29, 3)


def is_guess(cosine: float | None) -> bool:
    """Whether a text is a guess: its cosine is low, or nobody asked for it."""
    return cosine is None or not cosine >= FINDING


def explained() -> str:
    """What the limit rests on, as a sentence."""
    return (
        f"The limit is a cosine of {FINDING}: in a calibration of the embedded inverter {FOUND.right} of"
        f" {FOUND.texts} texts from there on shared at least four fifths of their words and numbers with"
        f" the original and {FOUND.names} held the full name, below it {GUESSED.right} and"
        f" {GUESSED.names} of {GUESSED.texts}."
    )
