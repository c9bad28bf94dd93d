"""A run, two runs or a store -> one HTML page."""
