"""Keep transformers and the hub's client from writing to stderr while they load weights."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence notices and bars, then restore them."""
    from huggingface_hub.utils import logging as of_hub
    from transformers.utils import logging as of_transformers

    before = {library: library.get_verbosity() for library in (of_hub, of_transformers)}
    shown = of_transformers.is_progress_bar_enabled()
    for library in before:
        library.set_verbosity(logging.ERROR)
    of_transformers.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, level in before.items():
            library.set_verbosity(level)
        if shown:
            of_transformers.enable_progress_bar()
