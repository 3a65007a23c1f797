"""What a run comes to: metrics, artifacts, alarms, lines of the terminal."""
