"""LoRA by peft: small matrices in float32 beside the frozen ones of a model, merged at the end."""

import importlib
from typing import Any, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from kdst_core.errors import KdstError
from kdst_toolformer.reading.draws import generator

LARGE = 100_000_000
"""Parameters above which finetuning trains LoRA, unless all weights are asked for."""

SCALE = 2
"""α of LoRA over its rank."""


def chosen(model: nn.Module, full: bool) -> bool:
    """Return whether a model is trained by LoRA; KdstError where peft is missing for that."""
    size = sum(p.numel() for p in model.parameters())
    if full or size <= LARGE:
        return False
    _library(f"the model has {size / 1e6:.0f} million parameters")
    return True


def _library(why: str) -> Any:
    """The package peft."""
    try:
        return importlib.import_module("peft")
    except ImportError as e:
        raise KdstError(
            f"{why}, and is finetuned by LoRA, which needs the package peft.\nInstall it with: pip"
            " install 'kdst-toolformer[lora]', or give --full to train all weights"
        ) from e


def inject(model: nn.Module, rank: int, seed: int) -> nn.Module:
    """Put adapters of a rank beside all linear layers but the head, and let only them be trained."""
    peft, head = _library("LoRA was asked for"), cast(Any, model).get_output_embeddings()
    layers = {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and part is not head
    }
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=SCALE * rank,
        target_modules=list(layers),
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in layers.values()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, "lora").initial_seed())
        found: nn.Module = peft.inject_adapter_in_model(config, model)
    for name, parameter in found.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return found


def merged(model: nn.Module) -> nn.Module:
    """Return the model with its adapters added to its weights, in float32 where those are half."""
    layers = importlib.import_module("peft.tuners.tuners_utils").BaseTunerLayer
    if next(model.parameters()).element_size() < 4:
        model = model.float()
    for name, part in list(model.named_modules()):
        if isinstance(part, layers):
            own = cast(Any, part)
            own.merge()
            above, _, last = name.rpartition(".")
            setattr(model.get_submodule(above), last, own.get_base_layer())
    model.peft_config = None  # type: ignore[assignment]
    del model.peft_config
    return model.requires_grad_(True)
