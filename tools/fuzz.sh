#!/bin/sh
# Fetches the fuzzer, at the version that pyproject.toml pins, into .fuzz/lib, and runs the harnesses with it.
# It is no part of .venv: there are no wheels of it for every Python and machine that the gate runs on.
#
#   tools/fuzz.sh --seconds 60 [HARNESS ...]
set -eu
cd "$(dirname "$0")/.."

pins=$(.venv/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["fuzz"]))')
stamp=$(printf '%s\n' "$pins" "$(.venv/bin/python --version)" | cksum)
if [ "$(cat .fuzz/lib/.stamp 2>/dev/null || true)" != "$stamp" ]; then
    rm -rf .fuzz/lib
    if uv --version >/dev/null 2>&1; then
        # shellcheck disable=SC2086 -- one argument for each pin
        uv pip install --quiet --python .venv/bin/python --target .fuzz/lib $pins
    else
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install -qq --disable-pip-version-check --target .fuzz/lib $pins
    fi
    printf '%s\n' "$stamp" >.fuzz/lib/.stamp
fi
PYTHONPATH=tests:. exec .venv/bin/python -m support.fuzzing "$@"
