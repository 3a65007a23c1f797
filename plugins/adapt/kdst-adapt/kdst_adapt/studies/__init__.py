"""The studies of TEA's paper: energy, generation, calibration."""
