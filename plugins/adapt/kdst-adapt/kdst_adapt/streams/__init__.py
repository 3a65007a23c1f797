"""Labelled images as streams: where they come from, in which order a method meets them."""
