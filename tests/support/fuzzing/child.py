"""Fuzzes one harness with atheris, which must be on the path, until libFuzzer is told to stop.

python -m support.fuzzing.child HARNESS [libFuzzer's own arguments]
"""

import sys

import atheris

# Before the code is imported, or none of its branches are seen.
with atheris.instrument_imports(include=["mappings", "policies", "chron", "proxy.fast", "proxy.facts"]):
    from support.fuzzing.harness import RAISED_BY, harnesses, written

    HARNESS = harnesses()[sys.argv[1]]
    for each in HARNESS.rows():  # what is imported late is imported here
        HARNESS.run(each)


def fed(data: bytes) -> None:
    """Run the harness; of what raises the input is said too, for libFuzzer does not always come to keep it."""
    try:
        HARNESS.run(data)
    except BaseException:
        sys.stdout.write(f"{RAISED_BY}{written(data)}\n")
        sys.stdout.flush()
        raise


atheris.Setup([sys.argv[0], *sys.argv[2:]], fed)
atheris.Fuzz()
