"""The embedded capture, which `--data solids` names."""
