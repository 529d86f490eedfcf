"""Listening and teaching: the model with its words, the device that holds it, the recognizer, and sessions that learn while listening."""
