"""Libraries of models, kept from writing to the terminal while they are imported or load weights."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def silence_libraries(*others: str) -> Iterator[None]:
    """Silence the notices and bars of transformers and the hub's client, then restore them.

    others: further libraries with a logging module like theirs, such as diffusers, which is imported
    here. The bars of a download stay.
    """
    with ExitStack() as stack:
        stack.enter_context(_silent("transformers"))
        for name in others:
            stack.enter_context(_silent(name))
        stack.enter_context(_silent("huggingface_hub"))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Silence one library, then restore it."""
    library: Any = import_module(f"{name}.utils").logging
    level = library.get_verbosity()
    has_bars = hasattr(library, "is_progress_bar_enabled")
    drawn = has_bars and library.is_progress_bar_enabled()
    library.set_verbosity(logging.ERROR)
    if drawn:
        library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if drawn:
            library.enable_progress_bar()
