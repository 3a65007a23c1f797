"""What there is to see: methods, runs and reports, and what is wrong with a plugin."""
