"""A clip -> its sampled frames with indices, times and the truth about what was lost."""
