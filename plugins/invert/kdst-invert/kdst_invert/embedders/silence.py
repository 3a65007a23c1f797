"""Keep transformers from writing to stderr while it loads weights."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Silence the notices and bars of transformers, then restore them."""
    from transformers.utils import logging as of_transformers

    before = of_transformers.get_verbosity()
    shown = of_transformers.is_progress_bar_enabled()
    of_transformers.set_verbosity(logging.CRITICAL)
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        of_transformers.set_verbosity(before)
        if shown:
            of_transformers.enable_progress_bar()
