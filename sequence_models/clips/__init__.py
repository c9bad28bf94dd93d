"""Stores and labels -> clips, windows of them, and padded batches."""
