"""What is measured of recovered texts, and of a store's search."""
