"""Attention control: which layers of a UNet, what edits take from the source in them, and when."""
