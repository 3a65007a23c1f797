"""Commands that the bench adds."""
