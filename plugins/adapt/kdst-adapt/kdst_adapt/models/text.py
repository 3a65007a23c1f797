"""The text tower of a CLIP-like model: prompts of its classes to token embeddings, those to features."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kdst_adapt.models.norms import single_precision
from kdst_core.errors import KdstError

BLOCK = 128
"""Prompts that go through the tower together; of more, gradients compute each block a second time."""


class TextTower:
    """Reads prompts of classes; the `text` of a request.

    It is frozen, and copies of a model share it. It computes where and in which precision (float32 or
    float64) the embeddings lie that it is given.
    """

    def __init__(self, net: Any, tokenizer: Any, class_names: Sequence[str]) -> None:
        """net: a CLIPModel of transformers, or what has its text tower, projection and configuration."""
        self.tower = net.text_model.eval().requires_grad_(False)
        self.projection = net.text_projection.requires_grad_(False)
        for module in (self.tower, self.projection):
            single_precision(module)
        self.lookup: Any = self.tower.get_submodule("embeddings.token_embedding")
        self.most = int(net.config.text_config.max_position_embeddings)
        self.tokenizer, self.class_names = tokenizer, list(class_names)

    def __deepcopy__(self, _memo: Any) -> Self:
        """Return itself: nothing changes it, and it is as large as a model."""
        return self

    def __call__(self, template: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return token embeddings (num_classes, T, E) of a template's prompts, and their function.

        template: with {} for the name of the class. T: tokens of the longest prompt, start and end of
        text included. The function maps embeddings of that shape to features (num_classes, D), each of
        length 1, differentiable. KdstError for a prompt of more tokens than the tower takes.
        """
        tokens = self._tokens(template)
        with torch.no_grad():
            embeddings: Tensor = self.lookup(tokens["input_ids"])
        return embeddings, partial(self._features, tokens)

    def _tokens(self, template: str) -> Mapping[str, Tensor]:
        """Return the tokens of a template's prompts, padded to the longest."""
        prompts = [template.replace("{}", name.replace("_", " ")) for name in self.class_names]
        tokens = self.tokenizer(prompts, padding=True, return_tensors="pt")
        if tokens["input_ids"].shape[1] > self.most:
            longest = prompts[int(tokens["attention_mask"].sum(1).argmax())]
            raise KdstError(
                f"a prompt has more than the {self.most} tokens that the model takes:"
                f" {longest[:60]!r}…\nShorten the templates or the names of the classes"
            )
        _refuse_unread(self.tokenizer, prompts, tokens, named="{}" in template)
        place = self.lookup.weight.device
        return {name: tokens[name].to(place) for name in ("input_ids", "attention_mask")}

    def _features(self, tokens: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
        """Return features (num_classes, D) of embeddings, block by block.

        Between forward and backward pass, memory holds the activations of one block at most.
        """
        place = {"device": embeddings.device, "dtype": embeddings.dtype}
        self.tower.to(**place)
        self.projection.to(**place)
        rows = [tokens[name].to(embeddings.device) for name in ("input_ids", "attention_mask")]
        blocks = list(zip(embeddings.split(BLOCK), *(r.split(BLOCK) for r in rows), strict=True))
        if len(blocks) == 1 or not (torch.is_grad_enabled() and embeddings.requires_grad):
            return torch.cat([self._encode(*block) for block in blocks])
        again: Any = partial(checkpoint, self._encode, use_reentrant=False)
        return torch.cat([again(*block) for block in blocks])

    def _encode(self, embeddings: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return features (n, D) of embeddings (n, T, E) in the place of those of their tokens (n, T)."""
        hook = self.lookup.register_forward_hook(lambda *_: embeddings)
        try:
            pooled = self.tower(input_ids=ids, attention_mask=mask).pooler_output
        finally:
            hook.remove()
        return F.normalize(self.projection(pooled), dim=1)


def _refuse_unread(
    tokenizer: Any, prompts: Sequence[str], tokens: Mapping[str, Tensor], *, named: bool
) -> None:
    """Raise KdstError where tokens do not say what prompts say, so that features would mean nothing.

    named: whether the prompts name the classes, and so differ.
    """
    usual = {name: getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "eos", "unk")}
    seen: dict[tuple[int, ...], str] = {}
    for prompt, ids, mask in zip(
        prompts, tokens["input_ids"], tokens["attention_mask"], strict=True
    ):
        row = tuple(ids[mask > 0].tolist())
        ends = [(row[:1], usual["bos"]), (row[-1:], usual["eos"])]
        if any(token is not None and found != (token,) for found, token in ends):
            raise KdstError(
                f"the tokenizer reads {prompt!r} without the tokens of a start and an end that CLIP's"
                " text tower looks for.\nGive the tokenizer that the model was trained with"
            )
        if {*row[1:-1]} & {*usual.values()}:
            raise KdstError(
                f"the tokenizer does not know all words of the prompt {prompt!r}.\nGive the directory"
                " the files of the model's tokenizer, or name the classes in other words"
            )
        if named and row in seen:
            raise KdstError(
                f"the tokenizer reads the prompts {seen[row]!r} and {prompt!r} as one and the same.\n"
                "Give the directory the files of the model's tokenizer, and each class a name of its own"
            )
        seen[row] = prompt
