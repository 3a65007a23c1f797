"""The embedded default: scans of handwritten digits, and a small network trained on them."""
