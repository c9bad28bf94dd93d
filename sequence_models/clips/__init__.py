"""Stores and labels -> clips, windows and padded batches."""
