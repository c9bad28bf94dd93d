"""What can be asked of an engine, by name."""

ENGINES = ("auto", "keras", "litert")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
