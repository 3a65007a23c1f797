"""Tests compute on one thread: small tensors are fastest so, and results do not depend on the machine."""

import os

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
