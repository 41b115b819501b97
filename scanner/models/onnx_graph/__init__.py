"""ONNX graphs as trainable torch modules: an interpreter with a table of operators."""
