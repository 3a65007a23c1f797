"""Qwen2-VL's processor for pictures, without torchvision, which transformers' own needs for videos."""

# mypy: disable-error-code="attr-defined, no-untyped-call, misc, override"
# transformers leaves these untyped

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BatchFeature, ProcessorMixin, Qwen2VLImageProcessorPil

PICTURE = "<|image_pad|>"


class Processor(ProcessorMixin):
    """Texts with `<|image_pad|>` and pictures to what Qwen2.5-VL reads.

    pictures: transformers' image processor on PIL. tokenizer: the model's.
    """

    def __init__(self, pictures: Any, tokenizer: Any) -> None:
        self.pictures, self.tokenizer = pictures, tokenizer  # not the parts that the base asks for

    @classmethod
    def read(cls, folder: Path) -> "Processor":
        """Read both from the directory of a saved QwenImageEditPipeline."""
        local: dict[str, Any] = {"local_files_only": True}
        pictures = Qwen2VLImageProcessorPil.from_pretrained(folder / "processor", **local)
        return cls(pictures, AutoTokenizer.from_pretrained(folder / "tokenizer", **local))

    def __call__(
        self, text: Sequence[str], images: Any = None, padding: bool = True, **kwargs: Any
    ) -> Any:
        """Return token ids and mask (B, T), patches of the pictures and their grids (pictures, 3).

        The placeholder of each picture is repeated as often as the model merges its patches into tokens.
        """
        seen = {} if images is None else dict(self.pictures(images=images, **kwargs))
        merged = self.pictures.merge_size**2
        counts = iter([int(grid.prod()) // merged for grid in seen.get("image_grid_thw", [])])
        told = [_spelled(one, counts) for one in text]
        words = self.tokenizer(told, padding=padding, **kwargs)
        return BatchFeature({**words, **seen})


def _spelled(text: str, counts: Iterator[int]) -> str:
    """Return a text whose placeholders are repeated, each by the next count."""
    first, *rest = text.split(PICTURE)
    return first + "".join(PICTURE * next(counts) + part for part in rest)
