"""Attackers of vectors: what each may know, and how he reads."""
