"""The untrained tiny model: a Llama of transformers, small enough to ship."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

CONTEXT = 256


def build_model(
    vocabulary: int, seed: int, width: int = 128, layers: int = 4, heads: int = 4
) -> LlamaForCausalLM:
    """Return a model whose weights depend on `seed` alone."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
        initializer_range=0.04,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
