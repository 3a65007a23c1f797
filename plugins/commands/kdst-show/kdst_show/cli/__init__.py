"""The commands `info`, `open`, `report` and `runs`."""
