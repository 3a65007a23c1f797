"""The bench of tool use for kdst."""
