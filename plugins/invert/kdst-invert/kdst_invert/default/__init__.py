"""Short synthetic clinical notes whose fields are known."""
