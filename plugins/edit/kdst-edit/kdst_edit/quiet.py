"""Keep the model libraries from writing to stderr while they are imported or load weights."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the notices of transformers, diffusers and the hub's client, then restore them.

    Importing a pipeline prints lines about packages that editing does not use, and loading one
    draws bars in milliseconds. The bars of a download stay.
    """
    from huggingface_hub.utils import logging as of_hub
    from transformers.utils import logging as of_transformers

    before = of_transformers.get_verbosity()
    of_transformers.set_verbosity(logging.ERROR)  # importing diffusers would warn
    from diffusers.utils import logging as of_diffusers

    libraries = {of_transformers: before, of_diffusers: of_diffusers.get_verbosity()}
    bars = {library: library.is_progress_bar_enabled() for library in libraries}
    libraries[of_hub] = of_hub.get_verbosity()
    for library in libraries:
        library.set_verbosity(logging.ERROR)
    for library in bars:
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, level in libraries.items():
            library.set_verbosity(level)
        for library, shown in bars.items():
            if shown:
                library.enable_progress_bar()
