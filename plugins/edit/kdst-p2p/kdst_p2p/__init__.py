"""Prompt-to-Prompt: an image is edited by changing words of the prompt that made it."""
