"""Write an encoder as one ONNX file."""
