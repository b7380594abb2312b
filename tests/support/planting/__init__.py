"""Bugs planted in every function that runs while a request is decided; used by tests/torture/test_planted.py."""
