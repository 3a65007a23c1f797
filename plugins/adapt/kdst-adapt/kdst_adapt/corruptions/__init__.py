"""The fifteen common corruptions, applied on the fly and kept."""
