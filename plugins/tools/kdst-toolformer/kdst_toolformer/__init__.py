"""Toolformer: a language model teaches itself to use tools, by which calls help it to predict."""
