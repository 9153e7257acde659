"""Small ONNX models that look at pictures."""
