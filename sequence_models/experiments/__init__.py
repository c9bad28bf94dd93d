"""The verbs of stage two: train, evaluate, compare."""
