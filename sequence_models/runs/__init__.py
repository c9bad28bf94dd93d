"""The run directory: its records, its weights and what has changed since."""
