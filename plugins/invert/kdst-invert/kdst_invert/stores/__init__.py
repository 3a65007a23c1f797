"""Vector stores of others: what lies in one, whatever library wrote it."""
