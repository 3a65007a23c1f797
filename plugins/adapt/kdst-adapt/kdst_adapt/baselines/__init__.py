"""The two baselines of every run, each a method of its own."""
