"""Adaptation as a function: a classifier to one that adapts as it predicts."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from kdst_adapt.models import clip
from kdst_adapt.models.outputs import Picked, logits_of
from kdst_core.bench.device import usable
from kdst_core.bench.library import Bound
from kdst_core.contracts import AdaptRequest, Diagnostics, OnlinePredictor
from kdst_core.errors import KdstError, typed_line


class Predictor:
    """A classifier that adapts as it predicts, made from the first batch it sees."""

    def __init__(
        self, bound: Bound, model: nn.Module, source: Sequence[tuple[Tensor, Tensor]] | None
    ) -> None:
        self._bound, self._model, self._source = bound, model, source
        self._inner: OnlinePredictor | None = None
        self._state: Mapping[str, Any] | None = None

    def predict(self, x: Tensor) -> Tensor:
        """Adapt to images (B, C, H, W) in [0, 1] and return logits (B, num_classes), dtype of x."""
        if self._inner is None:
            self._inner = self._made(x)
            if self._state is not None:
                self._inner.load_state_dict(self._state)
            # from here on a call costs what the method's own costs
            self.predict = self._inner.predict  # type: ignore[method-assign]
        return self._inner.predict(x)

    def reset(self) -> None:
        """Forget every batch seen."""
        self._state = None
        if self._inner is not None:
            self._inner.reset()

    @property
    def diagnostics(self) -> Diagnostics:
        """What the last `predict` did; KdstError before the first."""
        return self._required().diagnostics

    def state_dict(self) -> dict[str, Any]:
        """Return everything the future depends on; KdstError before the first batch."""
        return self._required().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        if self._inner is None:
            self._state = deepcopy(dict(state))
        else:
            self._inner.load_state_dict(state)

    def _required(self) -> OnlinePredictor:
        """The method's own predictor; KdstError where no batch has come yet."""
        if self._inner is None:
            raise KdstError("nothing was predicted yet: call predict(x) first")
        return self._inner

    def _made(self, x: Tensor) -> OnlinePredictor:
        """Call the method for images of this shape."""
        if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
            what = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise KdstError(f"predict takes images (B, C, H, W) as floats in [0, 1], not {what}")
        example = x[:2].detach()
        count, plain = classes(self._model, example)
        request = AdaptRequest(
            self._model if plain else Picked(self._model),
            count,
            (x.shape[1], x.shape[2], x.shape[3]),
            torch.Generator().manual_seed(self._bound.seed),
            self._source,
            example,
            **clip.parts(self._model),
        )
        device = str(x.device) if self._bound.device == "auto" else self._bound.device
        made: OnlinePredictor = self._bound.call(request, device)
        return made


def classes(model: nn.Module, example: Tensor) -> tuple[int, bool]:
    """Return the number of a model's logits, and whether it returns them alone.

    KdstError where it returns no logits (B, K).
    """
    place = next((p.device for p in model.parameters()), example.device)
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            output = model.eval()(example.to(place))
    except Exception as e:
        raise KdstError(f"the model fails on images {tuple(example.shape)}: {typed_line(e)}") from e
    finally:
        for module in training:
            module.training = True
    logits = logits_of(output)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise KdstError(f"the model must return logits (B, classes), not {got}")
    return logits.shape[1], logits is output


def adapted(
    bound: Bound, model: nn.Module, source: Sequence[tuple[Tensor, Tensor]] | None = None
) -> Predictor:
    """Return a predictor; the model stays as it is.

    model: images (B, C, H, W) in [0, 1] to logits (B, classes). source: batches (images, labels) of the
    training distribution, for methods that need them.
    """
    if not isinstance(model, nn.Module):
        raise KdstError(f"model must be a torch.nn.Module, not a {type(model).__name__}")
    half = {p.dtype for p in model.parameters()} - {torch.float32, torch.float64}
    if half:
        raise KdstError(
            f"the model has parameters of {half.pop()}, too coarse to learn in; give model.float()"
        )
    if source is None and "source" in bound.method.description.needs:
        raise KdstError(
            f"{bound.method.name} needs source data: give source=[(images, labels), …], batches of the"
            " training distribution"
        )
    if bound.device != "auto":
        usable(bound.device)
    return Predictor(bound, model, source)
