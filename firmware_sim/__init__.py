"""The device simulated; it imports edgelearn, and nothing in edgelearn imports it."""
