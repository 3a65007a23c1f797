"""What a store may do to its vectors before it keeps them, and what that does to a search."""
