"""Sampling: the levels of noise, the schedulers, and the loop over several branches of one noise."""
