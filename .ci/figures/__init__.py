"""Measured figures of the pages: each stands in a file of docs/figures, and pages are held against them."""
