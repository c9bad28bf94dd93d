"""The run directory: its records, its weights, and checks for later changes."""
