"""`kdst compare`: several methods under one protocol, each run once and reused, in one table."""
