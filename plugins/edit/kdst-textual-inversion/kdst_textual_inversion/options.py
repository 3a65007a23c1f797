"""Options of textual inversion; imports nothing heavy."""

from pathlib import Path

from attrs import frozen

from kdst_core.options import option

PUBLISHED_STEPS, EMBEDDED_STEPS = 5000, 40


@frozen
class Options:
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
