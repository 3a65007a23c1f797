"""The recipes, on few data."""
