"""Installed methods: found, read without import, loaded, and guarded while they work."""
