"""Stage one: videos in, HDF5 out. Knows nothing about labels or models."""

__version__ = "0.1.0"
