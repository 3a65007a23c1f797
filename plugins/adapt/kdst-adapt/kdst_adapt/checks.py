"""The conformance checks of an adaptation method, on a small random network."""

import copy
import gc
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from kdst_core.bench import Check
from kdst_core.contracts import AdaptRequest, OnlinePredictor
from kdst_core.method import Method
from kdst_core.testing import make_run

CLASSES = 5
PLACE = "the place in the batch changes nothing"
"""Name of the check that others follow from."""


def small_request(seed: int = 0, model: nn.Module | None = None) -> AdaptRequest:
    """Return a request with a small BatchNorm network, its source data and a seeded generator."""
    generator = Generator().manual_seed(100)
    source = [
        (torch.rand(8, 3, 8, 8, generator=generator), torch.arange(8) % CLASSES) for _ in range(2)
    ]
    return AdaptRequest(
        model or small_network(), CLASSES, (3, 8, 8), Generator().manual_seed(seed), source
    )


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


def adapt_checks(method: Method) -> Iterator[Check]:
    """Yield the checks; each makes predictors of its own, and those that follow name their cause."""
    whole = ("logits keep shape and dtype", "logits are finite")
    yield Check(whole[0], lambda: _shape_and_dtype(method))
    yield Check(whole[1], lambda: _finite(method), whole[:1])
    yield Check("the input batch is unchanged", lambda: _input_unchanged(method), whole)
    yield Check(PLACE, lambda: _place(method), whole)
    yield Check("a last batch of another size works", lambda: _odd_last_batch(method), whole)
    yield Check("a batch of one image works", lambda: _single_image(method), whole)
    yield Check("reset then replay equals a fresh run", lambda: _reset_replay(method), whole)
    yield Check("state_dict continues exactly", lambda: _resume(method), whole)
    yield Check("the user's model is unchanged", lambda: _model_unchanged(method), whole)
    yield Check("both readings are reported", lambda: _readings(method), (*whole, PLACE))
    yield Check("memory stays constant", lambda: _constant_memory(method), whole)
    if torch.cuda.is_available():
        yield Check("CUDA gives what the CPU gives", lambda: _cuda(method))


def _predictor(
    method: Method, request: AdaptRequest | None = None, device: str = "cpu"
) -> OnlinePredictor:
    """Call the hook with default options."""
    with tempfile.TemporaryDirectory() as directory:
        run = make_run(Path(directory), device=device)
        predictor: OnlinePredictor = method.call(
            request or small_request(), method.description.options(), run
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
    other = _predictor(method, small_request(seed=9))
    other.load_state_dict(state)
    assert _same(expected, _predict_all(other, batches[2:])), "state_dict() misses something"


def _model_unchanged(method: Method) -> None:
    """Parameters, buffers, mode and gradients of the user's model are what they were."""
    model = small_network().train()
    next(model.children()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    _predict_all(_predictor(method, small_request(model=model)), small_batches(2))
    after = model.state_dict()
    assert before.keys() == after.keys(), "the user's model gained or lost parameters or buffers"
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert not changed, f"the user's model changed: {', '.join(changed[:3])}"
    assert all(m.training for m in model.modules()), "the user's model left training mode"
    flags = [p.requires_grad for p in model.parameters()]
    assert flags == [False, False] + [True] * (len(flags) - 2), "requires_grad was changed"
    assert all(p.grad is None for p in model.parameters()), (
        "gradients were left on the user's model"
    )


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
    """Python and tensor memory after many batches is what it was after a few."""
    predictor, batch = _predictor(method), small_batches(1)[0]
    _predict_all(predictor, [batch] * 3)
    tensors = _tensor_bytes(predictor)
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        predictor.predict(batch)
    grown = tracemalloc.get_traced_memory()[0] - base
    tracemalloc.stop()
    more = _tensor_bytes(predictor) - tensors
    first = _live_bytes()
    _predict_all(predictor, [batch] * 10)
    second = _live_bytes()
    _predict_all(predictor, [batch] * 10)
    each = min(second - first, _live_bytes() - second)
    assert each < batch[:1].nbytes, (
        f"memory held outside state_dict grows: {each} bytes of tensors are kept in ten batches"
    )
    assert more <= 0, f"the predictor's tensors grow by {more} bytes in ten batches"
    assert grown < 200_000, f"memory grows by {grown} bytes in ten batches"


def _cuda(method: Method) -> None:
    """On CUDA the logits of a few batches are those of the CPU, up to rounding."""
    batches = small_batches(3)
    on_cpu = _predict_all(_predictor(method), batches)
    on_cuda = _predict_all(_predictor(method, device="cuda"), batches)
    apart = max(float((a - b.cpu()).abs().max()) for a, b in zip(on_cpu, on_cuda, strict=True))
    assert apart < 1e-2, f"logits on CUDA differ by up to {apart:.2g}"


def _live_bytes() -> int:
    """Return the bytes of all tensors of the process, wherever they are kept."""
    gc.collect()
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
        for t in gc.get_objects()
        if type(t) in (Tensor, nn.Parameter) and t.layout == torch.strided and not t.is_meta
    }
    return sum(storages.values())


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
