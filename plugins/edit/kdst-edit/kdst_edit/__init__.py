"""The bench of image editing for kdst."""
