"""Cameras on paths through a scene, and what they see as a video or as pictures."""
