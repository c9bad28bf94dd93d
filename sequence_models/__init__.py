"""Stage two: HDF5 and labels in, models and reports out."""
