"""Severities as users write them."""

from kdst_core.errors import KdstError


def parse_severities(text: str) -> list[int]:
    """Return the severities of '5', '1-5' or '1,3,5'."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not (low.strip().isdecimal() and (high.strip() or low).strip().isdecimal()):
            raise KdstError(f"--severity {text!r} is not understood; give 5, 1-5 or 1,3,5")
        if high and int(high) < int(low):
            raise KdstError(f"--severity {text!r} runs backwards; give the lower one first")
        found += range(int(low), int(high or low) + 1)
    if not found or min(found) < 1 or max(found) > 5:
        raise KdstError(f"--severity {text!r} is out of range; severities go from 1 to 5")
    return list(dict.fromkeys(found))
