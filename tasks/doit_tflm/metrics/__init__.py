"""How good a model is, in numbers and pictures; no TensorFlow, and no files."""
