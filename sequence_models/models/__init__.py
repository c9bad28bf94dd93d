"""Settings -> a model or a baseline, ready for weights."""
