"""The formats by name, for the command line; imports nothing heavy."""

FORMATS = {"keras": "model.keras", "savedmodel": "saved_model", "onnx": "model.onnx", "litert": "model.tflite"}
