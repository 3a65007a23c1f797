"""Texts: read from files, generated, chosen for tools."""
