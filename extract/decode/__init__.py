"""A clip -> its sampled frames with indices, times and a record of what was lost."""
