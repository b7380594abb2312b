"""Compilers of catalogues: from what a provider publishes about its API to the rows the gate looks up.

Each module reads the files of one package, as its wheel or npm archive holds them, and returns the catalogue;
none imports the package, opens a socket or writes. `compilers` says which there are. They ship with the gate, so
that an operator can compile from the packages he has installed (`claiim mappings refresh`).
"""

from mappings.sources.compiling import COMPILERS, Compiled, Described, SourceError, catalogue, compiler

__all__ = ["COMPILERS", "Compiled", "Described", "SourceError", "catalogue", "compiler"]
