"""The network of the embedded digits."""
