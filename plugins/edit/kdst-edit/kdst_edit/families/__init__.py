"""Families of networks: for each, where its attention is, what it is told, how it is sampled.

`family.Family` says what a family answers, `registry.family_of` finds that of a network or pipeline. A
new family is one file beside the others and a line in the registry.
"""
