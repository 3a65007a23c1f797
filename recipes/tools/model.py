"""The untrained tiny model: a Llama of transformers, small enough to ship."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from recipes.tools.induction import THETA, start_copying

CONTEXT = 256


def build_model(
    vocabulary: int, seed: int, width: int = 128, layers: int = 4, heads: int = 4
) -> LlamaForCausalLM:
    """Return a model whose weights depend on `seed` alone.

    The first two layers start out as an induction circuit (see `recipes.tools.induction`), which
    copying builds on and which takes a small model most of its training to find.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        attention_bias=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
        initializer_range=width**-0.5,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    start_copying(model, torch.Generator().manual_seed(seed))
    return model
