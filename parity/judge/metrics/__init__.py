"""Calibration, ranking, entropy, and their intervals."""
