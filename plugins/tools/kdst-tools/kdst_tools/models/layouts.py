"""Random models and a tokenizer in the layouts that transformers writes, for checks and benchmarks."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

Layout = Literal["gpt2", "llama", "gptj"]

TEXTS = (
    "Out of 1400 people, 400 (or 29%) passed the test. The other 1000 came back on Monday.",
    "The concert took place 37 days after 3 March 2031, on a Wednesday, in the old theatre.",
    "Anna had 412 apples and bought 77 more; now she has 489 apples and a large kitchen.",
    "The name derives from la tortuga, the Spanish word for turtle, as every sailor knew.",
)
"""A few sentences with numbers, dates and words."""


def tokenizer(
    texts: Sequence[str] = TEXTS, size: int = 400, end: str | None = "<|endoftext|>"
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE, as of GPT-2; without an end token where `end` is None."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[end] if end else [],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, *[" [Calculator(1+2) -> 3]"] * 4], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=end, eos_token=end)


def model(
    layout: Layout,
    vocabulary: int,
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    heads: int = 4,
    context: int = 256,
) -> Any:
    """Return a causal language model in evaluation mode, its weights from the seed alone."""
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if layout == "llama":
            found: Any = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=vocabulary,
                    hidden_size=width,
                    intermediate_size=2 * width,
                    num_hidden_layers=layers,
                    num_attention_heads=heads,
                    num_key_value_heads=heads // 2,
                    max_position_embeddings=context,
                    initializer_range=0.2,
                    **ends,
                )
            )
        elif layout == "gptj":
            found = GPTJForCausalLM(
                GPTJConfig(
                    vocab_size=vocabulary,
                    n_positions=context,
                    n_embd=width,
                    n_layer=layers,
                    n_head=heads,
                    rotary_dim=width // heads // 2,
                    initializer_range=0.2,
                    **ends,
                )
            )
        else:
            found = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=vocabulary,
                    n_positions=context,
                    n_embd=width,
                    n_layer=layers,
                    n_head=heads,
                    initializer_range=0.2,
                    **ends,
                )
            )
    return found.eval()
