"""Teach a small device new spoken words, offline: a fixed-point Delta LSTM that learns by sparse BPTT."""

__version__ = "0.1.0"
