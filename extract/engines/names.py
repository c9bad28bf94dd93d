"""The names of engines and precisions."""

ENGINES = ("auto", "keras", "litert")
PRECISIONS = ("float32", "tf32", "mixed_float16", "mixed_bfloat16")
