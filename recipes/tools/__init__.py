"""The embedded language model: its base training, and its warm-up on demonstrations of calls."""
