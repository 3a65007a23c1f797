"""How a language model is read: what it has read is remembered, and shared by many samples."""
