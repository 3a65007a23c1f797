"""Tools in processes of their own, which a timeout can end whatever they do."""
