"""The embedded inverter: hypothesiser and corrector for MiniLM's vectors of short clinical notes."""
