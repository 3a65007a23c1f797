"""Packages by name, and a finished run once more: the commands `kdst install` and `kdst repeat`."""
