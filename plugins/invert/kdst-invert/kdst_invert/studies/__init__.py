"""Studies: many small attacks in one run, each kept on disk when it is done."""
