"""Classifiers: built-in networks, those of users, their weights and how they are wired."""
