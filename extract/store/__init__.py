"""Clips in HDF5: written in immutable shards, validated on reading, packed, verified."""
