"""From results and pictures to pages."""
