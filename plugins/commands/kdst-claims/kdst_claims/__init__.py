"""`kdst claims`: what papers say of their methods, tried here and now, each with a verdict."""
