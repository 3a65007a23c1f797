"""Many runs: comparisons, sweeps, and the workers that carry them out."""
