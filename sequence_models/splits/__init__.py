"""Clips -> training, validation and test parts, by group, and what leaks between them."""
