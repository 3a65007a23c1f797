"""One run: its options, its directory, its checkpoints, its result."""
