"""What the core and the benches owe each other."""
