"""The state of the process around a run: as a run needs it inside, as it was outside."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch


@contextmanager
def gradients() -> Iterator[None]:
    """Let gradients be computed inside, whatever the caller has switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def own_surroundings(threads: int | None = None, seed: int = 0) -> Iterator[None]:
    """Give the body gradients, float32 without autocast and a number of threads; restore everything.

    What is restored: random states of torch, NumPy and Python, torch's number of threads, default dtype
    and modes. threads: None leaves torch's number. seed: of those random states inside, for models
    that draw from them.
    """
    before = torch.get_num_threads(), torch.get_default_dtype(), random.getstate()
    drawn = np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(gradients())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.set_default_dtype(before[1])
            random.setstate(before[2])
            np.random.set_state(drawn)
