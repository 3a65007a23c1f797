"""Global settings of a process that a method must leave as they were.

Only libraries that are loaded are asked, so nothing heavy is imported here.
"""

import gc
import locale
import os
import random
import signal
import socket
import sys
import threading
from typing import Any

OF_LIBRARIES = ("TORCHINDUCTOR_", "TRITON_", "CUDA_", "KMP_", "HF_", "TOKENIZERS_")
"""Beginnings of variables that libraries set when they are imported."""
FLAGS = (
    *("cudnn.enabled", "cudnn.benchmark", "cudnn.deterministic", "cudnn.allow_tf32"),
    *("mkldnn.enabled", "cuda.matmul.allow_tf32", "cuda.cudnn.enabled", "quantized.engine"),
    *("opt_einsum.enabled", "nnpack.enabled"),
)
"""Flags of torch's backends."""


def settings() -> dict[str, Any]:
    """Return the global settings that a method must leave alone, by what they are called."""
    found: dict[str, Any] = {
        "the working directory": os.getcwd(),
        "environment variables": {
            key: value for key, value in os.environ.items() if not key.startswith(OF_LIBRARIES)
        },
        "Python's random numbers": random.getstate(),
        "Python's tracing": (sys.gettrace(), sys.getprofile()),
        "Python's limit of recursion": sys.getrecursionlimit(),
        "Python's garbage collection": (gc.isenabled(), gc.get_threshold()),
        "what Ctrl-C does": _handlers(signal.SIGINT, signal.SIGTERM),
        "what signals do": _handlers(*_others()),
        "the streams of the process": (sys.stdin, sys.stdout, sys.stderr),
        "what is done with errors (sys.excepthook)": (sys.excepthook, threading.excepthook),
        "where modules are found (sys.path)": list(sys.path),
        "how long threads run (sys.setswitchinterval)": sys.getswitchinterval(),
        "how long connections are waited for": socket.getdefaulttimeout(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the permissions of new files (umask)": _umask(),
    }
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        found["numpy's random numbers"] = numpy.random.get_state()[1].tolist()
        found["what numpy does with errors"] = numpy.geterr()
        found["how numpy prints"] = numpy.get_printoptions()
    if torch is not None:
        found |= _of_torch(torch)
    return found


def _of_torch(torch: Any) -> dict[str, Any]:
    """Return the settings of torch."""
    found = {
        "torch's random numbers": torch.get_rng_state().tolist(),
        "torch's default dtype": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's number of threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "whether torch computes gradients": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's autocast": torch.is_autocast_enabled("cpu"),
        "torch's search for anomalies": torch.is_anomaly_enabled(),
        "torch's deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "the precision of torch's products": torch.get_float32_matmul_precision(),
        "torch's handling of denormal numbers": float(torch.tensor(1e-310).double() * 1e-5),
        "torch's modes": (
            torch._C._len_torch_function_stack(),
            torch._C._len_torch_dispatch_stack(),
        ),
        "torch's hooks of all modules": _global_hooks(),
    }
    found["torch's handling of denormal numbers"] = _denormal(torch)
    for flag in FLAGS:
        value: Any = torch.backends
        for part in flag.split("."):
            value = getattr(value, part, None)
        found[f"torch.backends.{flag}"] = value
    return found


def _denormal(torch: Any) -> bool:
    """Return whether a number below the normal ones stays what it is in a sum."""
    return bool((torch.full((1,), 1e-310, dtype=torch.float64) * 0.5).item() != 0)


def _global_hooks() -> dict[str, list[Any]]:
    """Return the hooks that torch calls for every module."""
    module = sys.modules["torch.nn.modules.module"]
    return {
        name: list(value.values())
        for name, value in vars(module).items()
        if name.startswith("_global_") and name.endswith("_hooks")
    }


def _handlers(*signals: Any) -> list[Any]:
    """Return what is done at signals."""
    return [signal.getsignal(s) for s in signals]


def _others() -> list[Any]:
    """Return the signals besides those that end a command."""
    return sorted(signal.valid_signals() - {signal.SIGINT, signal.SIGTERM})


def _umask() -> int:
    """Return the umask, which can only be read by setting it."""
    value = os.umask(0o077)
    os.umask(value)
    return value
