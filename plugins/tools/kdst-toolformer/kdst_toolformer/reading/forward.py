"""A causal language model that remembers what it has read, row by row, and reads on from there."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.activations import NewGELUActivation
from transformers.cache_utils import Cache

from kdst_core.errors import KdstError
from kdst_toolformer.reading.grouped import grouped
from kdst_toolformer.reading.memory import Memory, RoomyLayer
from kdst_tools.models import configs

MAX_LOGITS = 2**26
"""Numbers in the logits of one call: rows × tokens × vocabulary."""

CPU_NUMBERS = 2**18
"""Numbers in the hidden states of one call on a CPU: more do not fit its caches and are slower."""

HEAVY = 2**27
"""Bytes of weights that no cache of a CPU holds: a step costs their reading, whatever it reads them for."""

REMEMBERED = 2**30
"""Bytes of keys and values that samples of such a model hold at a time on a CPU."""

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""What a configuration says where the feed-forward part returns more than one tensor."""

Wanted = tuple[Sequence[int], Sequence[int]]
"""Rows and columns of the N tokens whose logits are asked for."""


class CausalModel:
    """A transformers causal language model, its context and the ways to read with it."""

    def __init__(self, model: nn.Module, context: int | None = None) -> None:
        self.model = model.eval()
        weight = next(model.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.context = context or configs.context(model)
        self.vocabulary = configs.vocabulary(model)
        self.window = configs.sliding_window(model)
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._slow = [
            (module, name)
            for module in model.modules()
            for name, part in module.named_children()
            if isinstance(part, NewGELUActivation)
        ]
        self._tokenwise = _tokenwise(model)
        self._bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self._bytes_a_token = weight.element_size() * _cached_numbers(model)

    def empty(self, rows: int, room: int = 0) -> Memory:
        """Rows that have read nothing."""
        cache = Cache(layer_class_to_replicate=partial(RoomyLayer, room))  # type: ignore[arg-type]
        return Memory(cache, torch.zeros(rows, 0, dtype=torch.bool, device=self.device))

    def most(self, budget: int) -> int:
        """Tokens that one call should read, given the most that it may."""
        width = configs.number(self.model, "hidden_size") or 1
        return min(budget, max(256, CPU_NUMBERS // width)) if self.device.type == "cpu" else budget

    def remembered(self, most: int) -> int:
        """Tokens whose keys and values may be held while one token a row is read, at most `most`; 0
        where a model is so small that reading its weights is not what a step costs."""
        if self.device.type != "cpu" or self._bytes < HEAVY:
            return 0
        return min(most, REMEMBERED // (self._bytes_a_token or REMEMBERED))

    @torch.inference_mode()
    def read(
        self, memory: Memory, ids: Tensor, real: Tensor, keep: int = 0, wanted: Wanted | None = None
    ) -> tuple[Tensor, Memory]:
        """Read on: ids (R, t), real (R, t) is False at padding. Return logits and the new memory.

        The logits are (R, t, V), or (R, keep, V) of the last `keep` tokens, or (N, V) of those wanted.
        """
        mask = torch.cat([memory.mask, real], 1)
        shares = self._groups() and memory.mask.shape[1] > 0
        inputs = {
            "attention_mask": self._masks(lines(mask, real))
            if shares or self.window is not None
            else mask.long(),
            "position_ids": (memory.lengths[:, None] + real.cumsum(1) - 1).clamp(min=0),
            "past_key_values": memory.cache,
            "use_cache": True,
        }
        after = Memory(memory.cache, mask)
        extra = {"logits_to_keep": keep} if keep and self._keeps else {}
        with grouped(self.model) if shares else nullcontext():
            if wanted is not None:
                return self._wanted(ids, wanted, **inputs), after
            with self._fused():
                return self.model(input_ids=ids, **inputs, **extra).logits[:, -keep:], after

    @torch.inference_mode()
    def read_graph(
        self,
        ids: Tensor,
        positions: Tensor,
        sees: Tensor | None,
        wanted: Wanted,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the logits (N, V) of wanted tokens of ids (R, t) that stand in no single line.

        positions: (R, t). sees: (R, t, T), which tokens each one looks at, those of the cache first;
        None where each looks at all before it. The cache grows by what is read.
        """
        mask: Any = torch.ones_like(ids)
        if sees is not None or self.window is not None:
            real = torch.ones_like(ids, dtype=torch.bool)
            mask = self._masks(lines(real, real) if sees is None else sees)
        shares = cache is not None and sees is not None and self._groups()
        with grouped(self.model) if shares else nullcontext():
            return self._wanted(
                ids,
                wanted,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )

    def _groups(self) -> bool:
        """Whether layers attend without copies of their keys: where those are many, on a CPU."""
        kind = getattr(configs.of_text(self.model), "_attn_implementation", None)
        return kind == "sdpa" and self.remembered(1) > 0

    def _masks(self, sees: Tensor) -> Any:
        """What a model is given for tokens that see some others (R, t, T): for each kind of its layers
        where there are several. A sliding window counts the tokens that are seen, not the columns."""
        self._require_masks()
        if self.window is None:
            return self._added(sees)
        distance = sees.sum(-1, keepdim=True) - sees.cumsum(-1)
        local = self._added(sees & (distance < self.window))
        types = getattr(configs.of_text(self.model), "layer_types", None)
        if types is None:
            return local
        return {kind: local if "sliding" in kind else self._added(sees) for kind in set(types)}

    def _added(self, sees: Tensor) -> Tensor:
        """A mask (R, 1, t, T) that is added to the scores of attention."""
        mask = torch.zeros(sees.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(~sees, torch.finfo(self.dtype).min)[:, None]

    def _require_masks(self) -> None:
        """Raise KdstError for an attention that takes no masks but causal ones."""
        kind = getattr(self.model.config, "_attn_implementation", None)
        if kind not in ("sdpa", "eager"):
            raise KdstError(
                f"the attention {kind!r} of this model takes no mask for calls that share a text.\n"
                "Load the model with attn_implementation='sdpa' or 'eager'"
            )

    def _wanted(self, ids: Tensor, wanted: Wanted, **inputs: Any) -> Tensor:
        """Run the model; only the wanted tokens pass what is behind its last attention.

        Its head costs much in a large vocabulary, and the last layer's feed-forward part two thirds of
        that layer.
        """
        rows, columns = (torch.tensor(part, device=self.device) for part in wanted)
        head = cast(Any, self.model).get_output_embeddings()
        with ExitStack() as stack:
            stack.enter_context(self._fused())
            for part in self._tokenwise:
                stack.enter_context(_sparse(part, rows, columns))
            if head is not None:
                stack.enter_context(only(head, rows, columns))
            logits: Tensor = self.model(input_ids=ids, **inputs).logits
        return logits[rows, columns] if head is None else logits[0]

    @contextmanager
    def _fused(self) -> Iterator[None]:
        """Let GELU by tanh be one pass over its input instead of seven, a third of a CPU's work."""
        before = [(module, name, getattr(module, name)) for module, name in self._slow]
        for module, name in self._slow:
            setattr(module, name, nn.GELU("tanh"))
        try:
            yield
        finally:
            for module, name, part in before:
                setattr(module, name, part)

    @torch.inference_mode()
    def branch(self, memory: Memory, rows: Tensor, lengths: Tensor, room: int) -> Memory:
        """Copy rows (n,) of a memory, each as it was after its first `lengths` (n,) tokens."""
        mask = memory.mask[rows]
        mask = mask & (mask.cumsum(1) <= lengths[:, None])
        needed = int(mask.any(0).nonzero().max()) + 1 if mask.any() else 0
        if needed == 0:
            return self.empty(len(rows), room)
        layers = [cast(RoomyLayer, a).select(rows, needed, room) for a in memory.cache.layers]
        return Memory(Cache(layers=layers), mask[:, :needed])  # type: ignore[arg-type]

    def pad(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[Tensor, Tensor]:
        """Return rows of tokens as (R, t), and where they are no padding."""
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        real = torch.zeros(len(rows), width, dtype=torch.bool)
        for i, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(row, dtype=torch.long)
            real[i, place] = True
        return ids.to(self.device), real.to(self.device)


def lines(mask: Tensor, real: Tensor) -> Tensor:
    """Which tokens each of the last t sees, (R, t, T), where rows are lines: those before it that
    count. mask: (R, T). real: (R, t), where padding is not, which sees itself."""
    total, count = mask.shape[1], real.shape[1]
    whole = torch.ones(total, total, dtype=torch.bool, device=mask.device).tril()[total - count :]
    itself = torch.eye(total, dtype=torch.bool, device=mask.device)[total - count :]
    return (whole & mask[:, None, :]) | itself


@contextmanager
def only(head: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Let a model's head see the hidden states (R, t, H) of some tokens only, as (1, N, H)."""
    hook = head.register_forward_pre_hook(lambda _, given: (given[0][rows, columns][None],))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _sparse(part: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """Let a part that treats every token by itself see (R, t, H) at some only; elsewhere it says 0."""
    shape: list[int] = []

    def gather(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        shape[:] = given[0].shape[:2]
        return (given[0][rows, columns][None], *given[1:])

    def scatter(_: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> Tensor:
        whole = found.new_zeros(*shape, found.shape[-1])
        whole[rows, columns] = found[0]
        return whole

    hooks = part.register_forward_pre_hook(gather), part.register_forward_hook(scatter)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _tokenwise(model: nn.Module) -> list[nn.Module]:
    """The parts of the last layer behind its attention maps, where the layer has the usual names."""
    config, count = configs.of_text(model), configs.number(model, "num_hidden_layers")
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not count or len(stacks) != 1 or any(getattr(config, name, None) for name in EXPERTS):
        return []
    last = stacks[0][-1]
    attention = getattr(last, "self_attn", getattr(last, "attn", None))
    projections = (getattr(attention, name, None) for name in ("c_proj", "o_proj", "out_proj"))
    return [part for part in (getattr(last, "mlp", None), *projections) if part is not None]


def _cached_numbers(model: nn.Module) -> int:
    """Keys and values of a token in all layers, where the configuration says how many heads have them."""
    heads = configs.number(model, "num_attention_heads") or 1
    groups = configs.number(model, "num_key_value_heads") or heads
    width = configs.number(model, "head_dim") or configs.number(model, "hidden_size") // heads
    return 2 * groups * width * configs.number(model, "num_hidden_layers")


def batches(sizes: Sequence[int], budget: int, rows: int) -> list[list[int]]:
    """Return indices in batches of about equal size, each at most `budget` padded and `rows` rows.

    An item that is larger than the budget is a batch of its own.
    """
    found: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: (sizes[i], i)):
        if found and (len(found[-1]) + 1) * sizes[i] <= budget and len(found[-1]) < rows:
            found[-1].append(i)
        else:
            found.append([i])
    return found


def log_p(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities (N,) of targets (N,) under logits (N, V), at least in float32."""
    scores = logits if logits.dtype == torch.float64 else logits.float()
    return scores.gather(1, targets[:, None])[:, 0] - scores.logsumexp(1)


def require_room(size: int, what: str, context: int) -> None:
    """Raise KdstError when so little of the context is left that no text fits."""
    if size < 16:
        raise KdstError(
            f"{what} leave {max(size, 0)} tokens of the model's context of {context} for a text.\n"
            "Use fewer or shorter examples, a smaller --max-input, or a model with more context"
        )
