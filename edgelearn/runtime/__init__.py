"""Listening and teaching: the model with its words, the device that holds it, the recognizer, sessions that learn."""
