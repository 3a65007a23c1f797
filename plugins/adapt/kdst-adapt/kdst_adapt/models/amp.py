"""Automatic mixed precision: a model's forward pass in half precision, all around it in float32."""

import copy
from pathlib import Path
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from kdst_adapt.models import clip
from kdst_adapt.models.checkpoints import reason
from kdst_adapt.models.wiring import first_input, sample
from kdst_core.errors import KdstError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CPU = Path("/proc/cpuinfo")
QUICK = ("avx512_bf16", "amx_bf16", " bf16")
"""Names under which Linux lists instructions for bfloat16."""


def install(model: nn.Module, example: Tensor, device: str, name: str) -> None:
    """Let a model, and copies of it, compute in a half precision, and return logits in float32.

    Of a CLIP-like model it is the image tower that does. example: images (b, C, H, W), on which a copy
    is tried. name: of DTYPES. KdstError where it cannot work.
    """
    _refuse(model, device, name)
    place: nn.Module = getattr(clip.found(model), "vision", model)
    amp = Amp(DTYPES[name])
    place.register_forward_pre_hook(amp.enter, with_kwargs=True, prepend=True)
    place.register_forward_hook(amp.leave, always_call=True)
    _try_out(model, example, device, name)


def has_quick_bfloat16() -> bool:
    """Return whether this processor has instructions for bfloat16; True where it does not say."""
    try:
        told = CPU.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return any(flag in told for flag in QUICK)


def _refuse(model: nn.Module, device: str, name: str) -> None:
    """Raise KdstError for a model or device that half precision is not for."""
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise KdstError(f"--amp is for the CPU and CUDA, not for {device}")
    if kind == "cpu" and name == "float16":
        raise KdstError("--amp float16 is for CUDA; on a CPU give --amp bfloat16")
    if kind == "cuda" and name == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise KdstError("this device does not compute in bfloat16; give --amp float16")
    tensors = [*model.parameters(), *model.buffers()]
    if any(t.dtype is torch.float64 for t in model.parameters()):
        raise KdstError(
            "--amp is for models of float32; this one is float64, whose digits it drops"
        )
    if any(t.is_quantized or t.dtype in (torch.int8, torch.uint8) for t in tensors) or any(
        ".quantized" in type(m).__module__ for m in model.modules()
    ):
        raise KdstError("--amp is for models of float32; this one has quantised layers")


def _try_out(model: nn.Module, example: Tensor, device: str, name: str) -> None:
    """Raise KdstError where a copy of a model fails in half precision, forward or backward."""
    clone = copy.deepcopy(model).to(device).eval().requires_grad_(True)
    try:
        logits = clone(sample(example, tuple(example.shape[1:])).to(device))
        if logits.requires_grad:
            logits.logsumexp(1).sum().backward()
    except Exception as e:  # what layers of others raise is open
        raise KdstError(
            f"the model ({type(model).__name__}) does not run under --amp {name}: {reason(e)}.\n"
            "Leave --amp out"
        ) from e
    if not logits.isfinite().all():
        raise KdstError(
            f"the model returns NaN or infinite logits under --amp {name}.\nGive --amp bfloat16, whose"
            " range is that of float32, or leave --amp out"
        )


class Amp:
    """Hooks around a forward pass: torch.autocast inside, float32 before and after.

    In float16 small gradients become 0, so they are scaled: each backward pass begins with a power of
    two that brings the largest gradient of an output near 1, and gradients of parameters and images
    are divided by it. A method sees none of it.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.open: list[_Pass] = []

    def enter(
        self, module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Begin half precision before a forward pass."""
        x: Tensor = first_input(args, named)
        inside = torch.autocast(x.device.type, dtype=self.dtype)
        inside.__enter__()
        scaled = self.dtype is torch.float16 and torch.is_grad_enabled()
        current = _Pass(inside, _Scale() if scaled else None)
        self.open.append(current)
        if current.scale is None:
            return args, named
        current.lend(module)
        x = _Down.apply(x, current.scale)  # type: ignore[no-untyped-call]
        if args:
            return (x, *args[1:]), named
        return args, {**named, next(iter(named)): x}

    def leave(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        """End it after one, also after one that failed; return the output in float32."""
        if not self.open:
            return output
        current = self.open.pop()
        current.give_back()
        current.inside.__exit__(None, None, None)
        if isinstance(output, Tensor):
            return current.up(output)
        if hasattr(output, "pooler_output"):
            output.pooler_output = current.up(output.pooler_output)
        return output


@define
class _Scale:
    """The factor of a backward pass's gradients."""

    factor: Tensor | float = 1.0


@define
class _Pass:
    """A forward pass that is going on: its context, its scale, and parameters in whose place others are."""

    inside: torch.autocast
    scale: _Scale | None
    lent: list[tuple[dict[str, Any], str, nn.Parameter]] = field(factory=list)

    def lend(self, module: nn.Module) -> None:
        """Put in the place of parameters what divides their gradients by the scale."""
        self.lent = [
            (m._parameters, name, p)
            for m in module.modules()
            for name, p in m._parameters.items()
            if p is not None and p.requires_grad
        ]
        for place, name, parameter in self.lent:
            place[name] = _Down.apply(parameter, self.scale)  # type: ignore[no-untyped-call]

    def give_back(self) -> None:
        """Put the parameters back."""
        for place, name, parameter in self.lent:
            place[name] = parameter

    def up(self, output: Tensor) -> Tensor:
        """Return an output in float32, whose gradient is scaled."""
        full = output.float()
        if self.scale is None:
            return full
        scaled: Tensor = _Up.apply(full, self.scale)  # type: ignore[no-untyped-call]
        return scaled


class _Up(torch.autograd.Function):
    """The identity, at which a backward pass chooses the scale and multiplies by it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        largest = gradient.detach().abs().max()
        ctx.scale.factor = torch.where(largest > 0, (-largest.log2()).floor(), 0).exp2()
        return gradient * ctx.scale.factor, None


class _Down(torch.autograd.Function):
    """The identity, at which a backward pass divides by the scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient / ctx.scale.factor, None
