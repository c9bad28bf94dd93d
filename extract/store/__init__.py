"""Clips in HDF5: written in immutable shards, read back without trust, packed, verified."""
