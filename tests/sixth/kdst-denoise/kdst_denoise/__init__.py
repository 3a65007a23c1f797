"""A sixth capability: noise taken from a signal."""
