"""Keep diffusers and transformers from writing to stderr while they are imported or load weights."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the notices and progress bars of both libraries, then restore their settings.

    Importing a pipeline prints lines about packages that editing does not use, and loading one
    draws bars; kdst shows its own progress.
    """
    from transformers.utils import logging as of_transformers

    before = of_transformers.get_verbosity()
    of_transformers.set_verbosity(logging.ERROR)  # importing diffusers would warn
    from diffusers.utils import logging as of_diffusers

    libraries = (of_transformers, of_diffusers)
    levels = [before, of_diffusers.get_verbosity()]
    bars = [of_transformers.is_progress_bar_enabled(), of_diffusers.is_progress_bar_enabled()]
    for library in libraries:
        library.set_verbosity(logging.ERROR)
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(libraries, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()
