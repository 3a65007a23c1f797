"""Embedders: texts to vectors, each with its dimension, normalisation and pooling."""
