"""The model file: versioned, checksummed, power-cut safe, with one generation to go back to."""
