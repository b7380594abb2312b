"""Harnesses for coverage-guided fuzzing: what each reads, and what must hold of every reading.

A harness takes bytes and fails by raising. `make fuzz` mutates for as long as it is told; the rows of
tests/fuzz/corpus run as ordinary tests, without any fuzzer (docs/fuzzing.md).
"""
