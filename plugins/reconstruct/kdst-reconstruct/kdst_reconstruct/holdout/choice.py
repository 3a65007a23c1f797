"""Which views are held out, and a capture without them."""

from collections.abc import Sequence
from typing import Any

import attrs

from kdst_core.contracts import Capture
from kdst_core.errors import KdstError
from kdst_reconstruct.captures.stored import Photographs

EVERY, FEW = 8, 20


def choose(text: str, count: int, test: Sequence[int] = ()) -> list[int]:
    """Return the indices of held-out views of `count`, sorted.

    auto: those that the capture keeps for testing; else every 8th from 0, as the field does; with
    fewer than 20 views as many, evenly spread inside the path. Views for testing are never trained
    on, whatever is held out. Raises KdstError for text that means nothing, or leaves fewer than two views.
    """
    if text == "none":
        chosen: list[int] = []
    elif text == "auto" and test:
        chosen = list(test)
    elif text == "auto":
        few = count < FEW
        chosen = _inner(-(-count // EVERY), count) if few else list(range(0, count, EVERY))
    elif "." in text and "," not in text:
        chosen = _inner(max(1, round(_share(text) * count)), count)
    else:
        chosen = sorted({_index(part, count) for part in text.split(",") if part.strip()})
    if count - len({*chosen, *test}) < 2:
        raise KdstError(
            f"{count} view{'s' if count != 1 else ''}, {len(chosen)} held out: at least 2 must"
            " remain to train on.\nAdd photographs, or give --holdout none"
        )
    return chosen


def _inner(held: int, count: int) -> list[int]:
    """Return `held` indices evenly spread inside the path of `count` views."""
    return sorted({min(count - 1, int((k + 0.5) * count / held)) for k in range(held)})


def _share(text: str) -> float:
    """Return a share of the views; KdstError outside ]0, 1[."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise KdstError(f"--holdout {text}: a share of the views must be above 0 and below 1")
    return value


def _index(text: str, count: int) -> int:
    """Return the index of a view; KdstError when there is none."""
    try:
        value = int(text)
    except ValueError:
        raise KdstError(
            f"--holdout {text!r} is not understood; give auto, none, indices (3,7) or a share (.1)"
        ) from None
    if not 0 <= value < count:
        raise KdstError(f"--holdout {value}: there are {count} views, 0 to {count - 1}")
    return value


def subset(capture: Capture, rows: Sequence[int]) -> Capture:
    """Return the capture with only these views."""

    def pick(values: Any) -> Any:
        return None if values is None else [values[k] for k in rows]

    images = capture.images
    return attrs.evolve(
        capture,
        images=images.pick(rows) if isinstance(images, Photographs) else pick(images),
        cameras=pick(capture.cameras),
        names=pick(capture.names),
        masks=pick(capture.masks),
        tracks=pick(capture.tracks),
    )
