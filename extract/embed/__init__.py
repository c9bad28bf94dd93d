"""Frames of many clips -> full batches -> rows back to their clips."""
