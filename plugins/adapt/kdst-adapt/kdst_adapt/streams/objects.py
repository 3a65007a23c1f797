"""Labelled images given from Python: a pair of arrays or tensors, a Dataset or a DataLoader of torch."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from kdst_adapt.streams import pixels
from kdst_core.errors import KdstError

WHERE = "the data given"
ASKED_TWICE = 16
"""Items, from the first to the last, that are asked for again, to find what is random in a data set."""
ALLOWED = "give a name, a pair (images, labels), or a Dataset or DataLoader of such pairs"


class Items:
    """Images of a data set that are asked for when a batch needs them, indexed like (N, H, W, C)."""

    def __init__(self, items: Any, rows: Sequence[int], shape: Sequence[int], dtype: Any) -> None:
        self.items, self.rows = items, list(rows)
        self.shape, self.dtype = (len(self.rows), *shape), np.dtype(dtype)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Any:
        """Return the images of an array of rows, or further items for a slice."""
        if isinstance(rows, slice):
            return Items(self.items, self.rows[rows], self.shape[1:], self.dtype)
        return np.stack([_one(_asked(self.items, self.rows[k]), k)[0] for k in np.asarray(rows)])


def read(given: Any) -> tuple[Any, NDArray[Any]]:
    """Return checked images (N, H, W, C) and labels (N,); KdstError for anything else.

    A Dataset is gone through once for its labels and asked for images again when a batch needs them;
    a DataLoader, an IterableDataset and a list or iterator of batches are gone through once and kept.
    """
    first = given[0] if isinstance(given, tuple | list) and given else None
    with torch.random.fork_rng(devices=[]):
        if isinstance(given, DataLoader | IterableDataset | Iterator) or _is_batch(first):
            return _collected(given)
        if isinstance(given, tuple | list) and len(given) == 2 and not _is_item(first):
            images, labels = (_array(v) for v in given)
            return pixels.check(images, labels, WHERE, first=_is_tensor(given[0]))
        if hasattr(given, "__getitem__") and hasattr(given, "__len__") and not _is_named(given):
            return _dataset(given)
    raise KdstError(
        f"data must be a name or a pair (images, labels), not {_kind(given)}; {ALLOWED}"
    )


def _kind(given: Any) -> str:
    """Return the type of an object in a word."""
    return type(given).__name__


def _is_named(value: Any) -> bool:
    """Return whether a value is a dictionary."""
    return isinstance(value, dict)


def _is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor, or a list that begins with one."""
    return isinstance(value[0] if isinstance(value, list | tuple) and value else value, Tensor)


def _is_item(value: Any) -> bool:
    """Return whether a value is a pair of one image and its label."""
    return isinstance(value, tuple | list) and len(value) == 2 and _axes(value[1]) == 0


def _is_batch(value: Any) -> bool:
    """Return whether a value is a pair of several images and their labels."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return _axes(value[0]) >= 3 and _axes(value[1]) == 1 and len(value[0]) == len(value[1])


def _axes(value: Any) -> int:
    """Return the number of axes of an array, a tensor, or nested lists of them."""
    if isinstance(value, list | tuple):
        return 1 + (_axes(value[0]) if value else 0)
    return int(np.ndim(value))


def _asked(items: Any, number: int) -> Any:
    """Return an item of a data set; KdstError that names it where the data set fails."""
    try:
        return items[number]
    except Exception as e:  # what a user's data set may raise is open
        raise KdstError(f"{WHERE}: item {number}: {type(e).__name__}: {e}") from e


def _array(value: Any) -> NDArray[Any]:
    """Return an array of an array, a tensor, an image, or a list of them; KdstError for unequal ones."""
    if isinstance(value, Tensor):
        try:
            value = value.detach().cpu()
            value = value.float() if value.dtype == torch.bfloat16 else value
            return np.asarray(value.numpy())
        except (TypeError, RuntimeError) as e:  # sparse, or without values
            kind = f"{value.dtype} ({value.layout}, {value.device})".replace("torch.", "")
            raise KdstError(
                f"{WHERE}: a tensor of {kind} cannot be read; give dense tensors of plain numbers"
            ) from e
    try:
        parts = isinstance(value, list | tuple) and value and isinstance(value[0], Tensor)
        return np.stack([_array(v) for v in value]) if parts else np.asarray(value)
    except ValueError as e:
        raise KdstError(
            f"{WHERE}: all images must have one size, and labels be numbers ({e})"
        ) from e


def _one(item: Any, number: int) -> tuple[NDArray[Any], Any]:
    """Return the image (H, W, C) and the label of an item; KdstError where it is no such pair."""
    item = _from_names(item, number) if isinstance(item, dict) else item
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise KdstError(
            f"{WHERE}: item {number} is {_kind(item)}, not a pair (image, label); {ALLOWED}"
        )
    image = item[0]
    if hasattr(image, "convert"):
        from kdst_adapt.streams import folders

        image = folders.rgb(image)
    tensor = isinstance(image, Tensor)
    array = _array(image)[None]
    return pixels.channels_last(array, f"{WHERE}, item {number}", first=tensor)[0], item[1]


def _dataset(items: Any) -> tuple[Any, NDArray[Any]]:
    """Go through a Dataset once: labels are kept, images checked and left."""
    labels: list[int] = []
    again = {*np.linspace(0, len(items) - 1, min(len(items), ASKED_TWICE)).astype(int).tolist()}
    kept: dict[int, NDArray[Any]] = {}
    for number in range(len(items)):
        image, label = _one(_asked(items, number), number)
        kept |= {number: image} if number in again else {}
        first = kept[0]
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            raise KdstError(
                f"{WHERE}: item {number} is {image.dtype} of shape {image.shape}, item 0 is"
                f" {first.dtype} of shape {first.shape}; all images must have one size and type"
            )
        pixels.check_range(image[None], WHERE, number)
        labels.append(_label(label, number))
    if not kept:
        raise KdstError(f"{WHERE} holds no images")
    for number, before in kept.items():
        image, label = _one(_asked(items, number), number)
        same = np.array_equal(image, before)
        if not same or _label(label, number) != labels[number]:
            what = "another label" if same else "other pixels"
            raise KdstError(
                f"{WHERE}: item {number} has {what} each time it is asked for, so that no run could be"
                " made again.\nLeave out what is random in the data set"
            )
    images = Items(items, range(len(labels)), first.shape, first.dtype)
    return images, pixels.check_labels(np.array(labels), WHERE)


def _label(label: Any, number: int) -> int:
    """Return a label as a whole number; KdstError where it is none."""
    array = _array(label)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise KdstError(f"{WHERE}: the label of item {number} is no whole number ({_kind(label)})")
    return int(array.reshape(()))


def _collected(batches: Iterable[Any]) -> tuple[Any, NDArray[Any]]:
    """Go through a loader, or an iterator of batches or of single images, once and keep everything."""
    found, labels = [], []
    single = isinstance(batches, IterableDataset) or getattr(batches, "batch_size", 1) is None
    single = single and getattr(batches, "batch_sampler", None) is None
    for number, batch in enumerate(_pairs(batches)):
        images, of_batch = batch
        if _axes(of_batch) == 0 or (single and _axes(images) < 4):
            image, label = _one(batch, number)
            images, of_batch = image[None], [_label(label, number)]
        else:
            tensor = isinstance(images, Tensor)
            images = pixels.channels_last(_array(images), f"{WHERE}, batch {number}", first=tensor)
        found.append(images)
        labels.append(_array(of_batch))
    if not found:
        raise KdstError(f"{WHERE} holds no images")
    if len({i.shape[1:] for i in found}) > 1:
        raise KdstError(f"{WHERE}: batches differ in the size of their images")
    return pixels.check(np.concatenate(found), np.concatenate(labels), WHERE)


def _pairs(batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the first two parts of each batch; KdstError where it has fewer, or the loader fails."""
    for number, batch in enumerate(_yielded(batches)):
        if isinstance(batch, dict):
            yield _from_names(batch, number)
        elif isinstance(batch, tuple | list) and len(batch) >= 2:
            yield batch[0], batch[1]
        else:
            raise KdstError(f"{WHERE}: batch {number} is no pair (images, labels); {ALLOWED}")


def _yielded(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield what a loader or an iterator gives; KdstError where it fails."""
    try:
        yield from batches
    except Exception as e:  # what a user's loader may raise is open
        raise KdstError(f"{WHERE}: {type(e).__name__}: {str(e).partition(chr(10))[0]}") from e


def _from_names(item: dict[str, Any], number: int) -> tuple[Any, Any]:
    """Return image and label of an item or batch with names, as data sets of other libraries give."""
    image = next((item[n] for n in ("image", "img", "pixel_values") if n in item), None)
    label = next((item[n] for n in ("label", "labels", "fine_label") if n in item), None)
    if image is None or label is None:
        raise KdstError(f"{WHERE}: item {number} has no image and label, but {', '.join(item)}")
    return image, label
