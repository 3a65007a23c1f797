"""The bench of embedding inversion for kdst."""
