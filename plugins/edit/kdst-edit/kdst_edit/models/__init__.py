"""Models: read from directories, checkpoints and the hub, checked, and asked for what an edit needs."""
