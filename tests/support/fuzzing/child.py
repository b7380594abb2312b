"""Fuzzes one harness with atheris, which must be on the path, until libFuzzer is told to stop.

python -m support.fuzzing.child HARNESS [libFuzzer's own arguments]
"""

import sys

import atheris

# Before the code is imported, or none of its branches are seen.
with atheris.instrument_imports(include=["mappings", "policies", "chron", "proxy.fast", "proxy.facts"]):
    from support.fuzzing.harness import harnesses

    HARNESS = harnesses()[sys.argv[1]]
    for each in HARNESS.rows():  # what is imported late is imported here
        HARNESS.run(each)

atheris.Setup([sys.argv[0], *sys.argv[2:]], HARNESS.run)
atheris.Fuzz()
