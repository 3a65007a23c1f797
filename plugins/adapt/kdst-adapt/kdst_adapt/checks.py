"""The conformance checks of an adaptation method, on a small random network."""

import copy
import gc
import hashlib
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from kdst_adapt.default.data import table
from kdst_adapt.models import clip
from kdst_adapt.models.small_clip import small_clip
from kdst_adapt.streams.shift import Shift
from kdst_authors.testing import GIVEN, given_only, make_run
from kdst_authors.untouched import marks, touched
from kdst_core.bench.contract import Check
from kdst_core.bench.sealed import hidden
from kdst_core.contracts import AdaptRequest, OnlinePredictor
from kdst_core.plugins.method import Method
from kdst_core.runs.rundir import Run

CLASSES, TEN = 5, 10
WINDOWS = 12
"""Times ten batches after which memory that grew each time is a leak."""
DARKER = 1e-4
"""Share of its light by which a batch is darker than the last, so that no two are the same."""
PLACE = "the place in the batch changes nothing"
RESET = "reset then replay equals a fresh run"
"""Names of checks that others follow from."""


def small_request(seed: int = 0, model: nn.Module | None = None) -> AdaptRequest:
    """Return a request with a small BatchNorm network or a model of five classes for images
    (B, 3, 8, 8), source data and a seeded generator.
    """
    generator = Generator().manual_seed(100)
    source = [
        (torch.rand(8, 3, 8, 8, generator=generator), torch.arange(8) % CLASSES) for _ in range(2)
    ]
    model = model or small_network()
    return AdaptRequest(
        *(model, CLASSES, (3, 8, 8), Generator().manual_seed(seed), source), **clip.parts(model)
    )


def small_model(method: Method) -> nn.Module:
    """Return the network that a method is checked on: CLIP-like where it needs a text tower."""
    return small_clip() if "text" in method.description.needs else small_network()


def small_batches(count: int) -> list[Tensor]:
    """Return batches (8, 3, 8, 8) of random images from a fixed seed."""
    generator = Generator().manual_seed(1)
    return [torch.rand(8, 3, 8, 8, generator=generator) for _ in range(count)]


def small_network() -> nn.Module:
    """Return a convolutional network with BatchNorm and dropout, weights from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, CLASSES),
        )
    return net.eval()


def smoke(method: Method, options: object, run: Run) -> str:
    """Adapt a small random network to three random batches; return a digest of the logits."""
    digest = hashlib.sha256()
    with hidden(filter(None, [table()])):
        predictor = method.call(small_request(run.seed, small_model(method)), options, run)
        for x in small_batches(3):
            with method.working():
                logits = predictor.predict(x)
            digest.update(logits.contiguous().numpy().tobytes())
    return digest.hexdigest()


def adapt_checks(method: Method) -> Iterator[Check]:
    """Yield the checks; each makes predictors of its own, and those that follow name their cause."""
    whole = ("logits keep shape and dtype", "logits are finite")
    yield Check(whole[0], lambda: _shape_and_dtype(method))
    yield Check(whole[1], lambda: _finite(method), whole[:1])
    yield Check(GIVEN, lambda: _given_only(method), whole)
    sound = (*whole, GIVEN)
    yield Check("the input batch is unchanged", lambda: _input_unchanged(method), sound)
    yield Check("the user's model is unchanged", lambda: _model_unchanged(method), sound)
    yield Check(PLACE, lambda: _place(method), sound)
    yield Check("a last batch of another size works", lambda: _odd_last_batch(method), sound)
    yield Check("a batch of one image works", lambda: _single_image(method), sound)
    yield Check(RESET, lambda: _reset_replay(method), sound)
    yield Check("state_dict continues exactly", lambda: _resume(method), (*sound, RESET))
    yield Check("both readings are reported", lambda: _readings(method), (*sound, PLACE))
    yield Check("memory stays constant", lambda: _constant_memory(method), sound)
    if torch.cuda.is_available():
        yield Check("CUDA gives what the CPU gives", lambda: _cuda(method))


def _predictor(
    method: Method, request: AdaptRequest | None = None, device: str = "cpu"
) -> OnlinePredictor:
    """Call the hook with default options."""
    with tempfile.TemporaryDirectory() as directory:
        run = make_run(Path(directory), device=device)
        predictor: OnlinePredictor = method.call(
            request or small_request(model=small_model(method)), method.description.options(), run
        )
    return predictor


def _predict_all(predictor: OnlinePredictor, batches: list[Tensor]) -> list[Tensor]:
    return [predictor.predict(x).clone() for x in batches]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _shape_and_dtype(method: Method) -> None:
    """Logits are (B, classes) of the dtype of the images."""
    logits = _predictor(method).predict(small_batches(1)[0])
    assert logits.shape == (8, CLASSES), f"logits have shape {tuple(logits.shape)}, not (8, 5)"
    assert logits.dtype == torch.float32, f"logits are {logits.dtype}, the images float32"
    assert not logits.requires_grad, "logits still carry a graph; detach them"


def _finite(method: Method) -> None:
    """Logits of a few ordinary batches are finite."""
    for logits in _predict_all(_predictor(method), small_batches(2)):
        assert bool(logits.isfinite().all()), "logits are not finite (NaN or infinity)"


def _given_only(method: Method) -> None:
    """With other labels every output is the same, bit for bit."""
    given_only(partial(_streamed, method), "labels")


def _streamed(method: Method, number: int) -> str:
    """Adapt to a stream whose labels (24,) lie open, and return a digest of all that came of it."""
    labels = (np.arange(24) * 7 + 2 * number) % CLASSES
    images = torch.cat(small_batches(3)).permute(0, 2, 3, 1).numpy()
    shift, targets = Shift("kit", 5, images, labels), torch.from_numpy(labels)
    digest, predictor = hashlib.sha256(), _predictor(method)
    for start in range(0, len(labels), 8):
        y = targets[start : start + 8]
        x = shift.pictures(np.arange(start, start + len(y)))
        logits = predictor.predict(x)
        shown = predictor.diagnostics
        for reading in (logits, shown.before_update, shown.after_update):
            digest.update(reading.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()


def _input_unchanged(method: Method) -> None:
    """The images that a method is given are the same bits after its call.

    They are given in both layouts: in one of them no copy is made before the method sees them.
    """
    for layout in (torch.contiguous_format, torch.channels_last):
        predictor = _predictor(method)
        for batch in small_batches(2):
            x = batch.contiguous(memory_format=layout)
            before = x.clone()
            predictor.predict(x)
            assert torch.equal(x, before), "the input images are changed in place; clone them first"


def _place(method: Method) -> None:
    """The images of a batch in another order give the same logits in that order, up to rounding.

    Random methods are left out: they may draw for one place what they draw for another.
    """
    if method.description.random:
        return
    x = small_batches(1)[0]
    order = torch.arange(len(x)).flip(0)
    straight = _predictor(method).predict(x).clone()
    other = _predictor(method).predict(x[order]).clone()
    apart = float((straight[order] - other).abs().max())
    assert apart < 1e-2, f"logits depend on the place in the batch: they differ by {apart:.2g}"


def _odd_last_batch(method: Method) -> None:
    """A smaller batch after a larger one works, and one after it."""
    predictor = _predictor(method)
    for size in (8, 3, 8):
        logits = predictor.predict(small_batches(1)[0][:size])
        assert len(logits) == size, f"{size} images gave {len(logits)} rows of logits"


def _single_image(method: Method) -> None:
    """One image alone gives one row of finite logits, and larger batches go on after it."""
    predictor = _predictor(method)
    for size in (1, 8, 1):
        logits = predictor.predict(small_batches(1)[0][:size])
        assert logits.shape == (size, CLASSES), f"{size} images gave {tuple(logits.shape)} logits"
        assert bool(logits.isfinite().all()), f"a batch of {size} gave logits that are not finite"


def _reset_replay(method: Method) -> None:
    """After a reset the same batches give the same bits."""
    predictor, batches = _predictor(method), small_batches(3)
    before = _predict_all(predictor, batches)
    predictor.reset()
    after = _predict_all(predictor, batches)
    assert _same(before, after), "reset() forgets something: the replay differs from a fresh run"


def _resume(method: Method) -> None:
    """A new predictor that takes the state continues with the same bits."""
    batches = small_batches(4)
    predictor = _predictor(method)
    _predict_all(predictor, batches[:2])
    state = copy.deepcopy(predictor.state_dict())
    expected = _predict_all(predictor, batches[2:])
    other = _predictor(method, small_request(9, small_model(method)))
    other.load_state_dict(state)
    assert _same(expected, _predict_all(other, batches[2:])), "state_dict() misses something"


def _model_unchanged(method: Method) -> None:
    """Parameters, buffers, mode and gradients of the user's model are what they were."""
    model = small_model(method).train()
    next(model.children()).requires_grad_(False)
    before, hooks = copy.deepcopy(model.state_dict()), marks(model)
    predictor = _predictor(method, small_request(model=model))
    _predict_all(predictor, small_batches(2))
    predictor.reset()
    after = model.state_dict()
    assert before.keys() == after.keys(), "the user's model gained or lost parameters or buffers"
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert not changed, f"the user's model changed: {', '.join(changed[:3])}"
    found = touched(hooks, model)
    assert found is None, f"the user's model is not as it was: {found}"


def _readings(method: Method) -> None:
    """Diagnostics hold both readings, and one of them is what was returned."""
    predictor = _predictor(method)
    logits = predictor.predict(small_batches(1)[0])
    shown = predictor.diagnostics
    before, after = (r.to(logits.dtype) for r in (shown.before_update, shown.after_update))
    assert before.shape == after.shape == logits.shape, "readings must have the shape of the logits"
    close = [torch.allclose(r, logits, atol=1e-5) for r in (before, after)]
    assert any(close), "neither reading is what predict returned"
    if shown.updates == 0:
        assert torch.equal(before, after), "the readings differ though no update was made"


def _constant_memory(method: Method) -> None:
    """What a stream takes in Python, numpy and torch does not grow by an image a batch.

    Ten batches, each a little darker than the last, are looked at again and again, WINDOWS times at most,
    and the least growth counts: caches fill up and the interpreter's own lists come and go, leaks go on.
    """
    predictor, batch = _predictor(method), small_batches(1)[0]
    image = batch[:1].nbytes
    _predict_all(predictor, [batch] * 3)
    python = tensors = more = sys.maxsize
    tracemalloc.start()
    before, size = _held_bytes(), _tensor_bytes(predictor)
    for window in range(WINDOWS):
        for turn in range(TEN):
            predictor.predict(batch * (1 - DARKER * (window * TEN + turn)))
        after, larger = _held_bytes(), _tensor_bytes(predictor)
        python, tensors = min(python, after[0] - before[0]), min(tensors, after[1] - before[1])
        more = min(more, larger - size)
        before, size = after, larger
        if tensors < image and more <= 0 and python < TEN * image:
            break
    tracemalloc.stop()
    assert tensors < image, (
        f"memory held outside state_dict grows: {tensors} bytes of tensors are kept in ten batches"
    )
    assert more <= 0, f"the predictor's tensors grow by {more} bytes in ten batches"
    assert python < TEN * image, f"memory grows by {python} bytes in ten batches"


def _held_bytes() -> tuple[int, int]:
    """Return the bytes that Python and numpy hold, and those of all tensors, wherever they are kept."""
    gc.collect()
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in gc.get_objects()
        if type(t) in (Tensor, nn.Parameter) and t.layout == torch.strided and not t.is_meta
    }
    return tracemalloc.get_traced_memory()[0], sum(storages.values())


def _cuda(method: Method) -> None:
    """On CUDA the logits of a few batches are those of the CPU, up to rounding."""
    batches = small_batches(3)
    on_cpu = _predict_all(_predictor(method), batches)
    on_cuda = _predict_all(_predictor(method, device="cuda"), batches)
    apart = max(float((a - b.cpu()).abs().max()) for a, b in zip(on_cpu, on_cuda, strict=True))
    assert apart < 1e-2, f"logits on CUDA differ by up to {apart:.2g}"


def _tensor_bytes(predictor: OnlinePredictor) -> int:
    """Return the bytes of every tensor in the predictor's state."""

    def size(value: object) -> int:
        if isinstance(value, Tensor):
            return value.numel() * value.element_size()
        if isinstance(value, dict):
            return sum(map(size, value.values()))
        if isinstance(value, list | tuple):
            return sum(map(size, value))
        return 0

    return size(predictor.state_dict())
