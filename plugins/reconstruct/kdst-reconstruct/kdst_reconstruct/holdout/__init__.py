"""Views that are scored and not trained on: which they are, and their photographs, sealed."""
