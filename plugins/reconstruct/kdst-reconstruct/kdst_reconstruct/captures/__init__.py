"""What `--data` names, read as a capture: photographs with cameras and points, or without any."""
