"""What tests of a method need: a small float64 network, data, and the ends of a plain rendering.

A plain rendering writes the paper's algorithm out once more, as simply as possible, for the method
to be compared with. Recorded runs are reference outputs kept outside the repository.
"""

import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode

from kdst_adapt.augment import augment
from kdst_adapt.checks import small_network
from kdst_adapt.inputs import AdaptInputs
from kdst_adapt.kit import OnlineAdapter
from kdst_adapt.models import classifier
from kdst_core.contracts import AdaptRequest

SHAPE = (3, 8, 8)
"""Shape of an image."""


def batches(count: int, size: int = 12) -> list[Tensor]:
    """Images of many colours and contrasts."""
    g = torch.Generator().manual_seed(5)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(size, *shape, generator=g, dtype=torch.float64)

    return [uniform(3, 1, 1) + (uniform(*SHAPE) - 0.5) * uniform(1, 1, 1) * 2 for _ in range(count)]


def network(spread: float = 2.0, *, batch: bool = True) -> nn.Module:
    """A network whose logits have mean 0 and a spread, so that filters have something to decide."""
    net = small_network().double()
    last = list(net.children())[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        logits = prepare(net, batch=batch)[0](torch.cat(batches(4)))
        scale = spread / logits.std(0)
        last.bias.copy_((last.bias - logits.mean(0)) * scale)
        last.weight.mul_(scale[:, None])
    return net


def request(
    model: nn.Module, source: Sequence[tuple[Tensor, Tensor]] | None = None
) -> AdaptRequest:
    """A request on five classes, with a generator of its own."""
    return AdaptRequest(model, 5, SHAPE, torch.Generator().manual_seed(3), source)


def save_clip(folder: Path) -> None:
    """Save a small CLIPModel of transformers with random weights, and a tokenizer of letters."""
    import transformers

    words = [*"abcdefghijklmnopqrstuvwxyz.0123456789"]
    tokens = [*words, *(w + "</w>" for w in words), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer: Any = transformers.CLIPTokenizer
    tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1}
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2}
    text = {**small, **ends, "vocab_size": len(tokens), "max_position_embeddings": 40}
    vision = {**small, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    transformers.CLIPModel(config).save_pretrained(folder)


def prepare(model: nn.Module, *, batch: bool = True) -> tuple[nn.Module, list[nn.Parameter]]:
    """A copy whose BatchNorm takes the batch's statistics, and its affine parameters."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    affine: list[nn.Parameter] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if batch:
                module.running_mean = module.running_var = None
            module.requires_grad_()
            affine += [module.weight, module.bias]
    return model, affine


def entropies(logits: Tensor) -> Tensor:
    """Entropy of each prediction (B,) in nats, of logits (B, C)."""
    p = logits.softmax(1)
    return -(p * p.log()).sum(1)


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def recorded() -> Path | None:
    """The folder of recorded runs and real data, None where KDST_TEST_DATA names none."""
    folder = os.environ.get("KDST_TEST_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


def recorded_request(folder: Path, dtype: torch.dtype = torch.float32) -> AdaptRequest:
    """A request with the ResNet-20 of the recorded runs, on one thread."""
    torch.set_num_threads(1)
    weights = folder / "data/cifar10-jpeg/resnet20-12fca82f.th"
    model = classifier.load(AdaptInputs(model="resnet20", weights=weights)).to(dtype)
    return AdaptRequest(model, 10, (3, 32, 32), torch.Generator())


def roid_losses(model: nn.Module, x: Tensor, mean: Tensor, generator: Generator) -> Any:
    """Plainly rendered: logits, the loss of a step of ROID, and the running mean prediction after it."""
    logits = model(x)
    p, h = logits.softmax(1).detach(), entropies(logits).detach()
    unlike = torch.stack([1 - q @ mean / (q.norm() * mean.norm()) for q in p])
    unlike = (unlike - unlike.min()) / (unlike.max() - unlike.min())
    certain = (h.max() - h) / (h.max() - h.min())
    kept = [k for k in range(len(x)) if unlike[k] >= unlike.mean()]
    copies = augment(x[kept], generator, soften=False, reflect=True)
    loss: Any = 0.0
    for k, other in zip(kept, model(copies), strict=True):
        weight = math.exp(3 * unlike[k] * certain[k])
        y, z = logits[k].softmax(0), other.softmax(0)
        sure = y.clamp(max=0.99)
        ratio = -(sure * (sure / (1 - sure) + 1e-5).log()).sum()
        both = -(y * z.log()).sum() / 2 - (z * y.log()).sum() / 2
        loss = loss + weight * (ratio + both) / len(x)
    return logits.detach(), loss, 0.9 * mean + 0.1 * p.mean(0)


def roid_correction(logits: Tensor, profile: str) -> Tensor:
    """Plainly rendered: logits under the smoothed prior of the batch, as ROID corrects them."""
    prior = logits.softmax(1).mean(0)
    g = max(1 / len(logits), 1 / 5) / prior.max()
    prior = (prior + g) / (1 + g * 5)
    return logits * prior if profile == "published" else logits + prior.log()


class Sides(TorchFunctionMode):
    """ReLU with named units on the side where a recorded run in float32 had them.

    A unit so close to 0 that float32 cannot tell its sign is on or off by chance of the processor's
    sums, and its gradient with it; that alone moves a bias by more than rounding does. on: the number
    of a call of `F.relu` and an index into its flattened input, to whether the unit was on. A unit
    farther than `within` from 0 is an AssertionError: only rounding is made up for.
    """

    def __init__(self, on: Mapping[tuple[int, int], bool], within: float = 1e-6) -> None:
        super().__init__()
        self.on, self.within, self.call = on, within, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Take `F.relu` over; leave everything else alone."""
        if func is not F.relu:
            return func(*args, **(kwargs or {}))
        x = args[0]
        mask = (x.detach() > 0).flatten()
        for (call, unit), on in self.on.items():
            if call == self.call:
                assert abs(float(x.detach().flatten()[unit])) < self.within
                mask[unit] = on
        self.call += 1
        return x * mask.view_as(x)


def follow(
    method: OnlineAdapter[Any],
    run: Mapping[str, np.ndarray],
    on: Mapping[tuple[int, int], bool] | None = None,
    tolerance: float = 1e-5,
) -> Iterator[int]:
    """Give a method the two batches of a recorded run; yield the number of each after it.

    Logits, every parameter and the loss are asserted within the tolerance, relative, and that the same
    parameters learn; `on` names the units of `Sides`.
    """
    x, size = torch.from_numpy(run["x"]), len(run["b0/logits"])
    names = [n for n, p in method.model.named_parameters() if p.requires_grad]
    assert {f"p0/{n}" for n in names} == {k for k in run if k.startswith("p0/")}
    sides = Sides(on or {})
    for b in range(2):
        with sides:
            logits = method.predict(x[b * size : (b + 1) * size])
        assert error(logits.numpy(), run[f"b{b}/logits"]) < tolerance
        for name, parameter in zip(names, method.parameters, strict=True):
            assert error(parameter.detach().numpy(), run[f"b{b}/p/{name}"]) < tolerance
        expected = float(run[f"b{b}/losses"][-1])
        assert abs(method.diagnostics.scalars["loss"] - expected) <= tolerance * abs(expected)
        yield b
