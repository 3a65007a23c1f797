"""Causal language models: loaded, read from GGUF, made small for checks."""
