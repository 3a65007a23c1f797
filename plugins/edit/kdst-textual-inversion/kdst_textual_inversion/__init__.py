"""Textual inversion: a new word is learned from a few images, then used in any prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from kdst_core import Description, hookimpl, option

if TYPE_CHECKING:
    from kdst_core.contracts import Edit, EditRequest, RunServices

PUBLISHED_STEPS, EMBEDDED_STEPS = 5000, 40


@frozen
class TextualInversionOptions:
    """Options of textual inversion."""

    concept: Path | None = option(
        None,
        "Directory with 3 to 5 images of the concept; NAME.txt beside NAME.png is its caption, with"
        " {} for the word. Default: pictures made for tiny, of objects in a colour it has no word for.",
    )
    learned: Path | None = option(
        None, "A word learned before (word.safetensors of a run); nothing is trained."
    )
    word: str = option("<new>", "The new word, as prompts write it.")
    initial: str = option(
        "blue",
        "Word whose embedding it starts from, and whose place it takes in a target without it.",
    )
    train_steps: int | None = option(
        None,
        f"Steps of training. Default: {PUBLISHED_STEPS}, as published, and {EMBEDDED_STEPS} for the"
        " pictures made for tiny.",
        min=1,
    )
    lr: float | None = option(
        None,
        "Learning rate. Default: 0.005, as published, and 0.03 for the same pictures.",
        above=0,
    )
    batch: int = option(4, "Noisy images a step.", min=1)


@hookimpl
def describe() -> Description:
    """Describe the method."""
    return Description(
        summary="Learn a new word from a few images, then edit with it.",
        options=TextualInversionOptions,
        paper="Gal et al., An Image is Worth One Word: Personalizing Text-to-Image Generation using"
        " Textual Inversion, ICLR 2023",
        url="https://arxiv.org/abs/2208.01618",
        licence="Apache-2.0",
        needs={"gradients"},
    )


@hookimpl
def edit(request: "EditRequest", options: TextualInversionOptions, run: "RunServices") -> "Edit":
    """Learn the word, then sample each target with it from the source's noise."""
    from kdst_textual_inversion.method import edit_with_new_word

    return edit_with_new_word(request, options, run)
