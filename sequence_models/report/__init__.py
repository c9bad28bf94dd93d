"""A run directory -> one HTML page."""
