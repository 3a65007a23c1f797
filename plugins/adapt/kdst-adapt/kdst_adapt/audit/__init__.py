"""What is looked at before any work, and mended, warned of or refused."""
