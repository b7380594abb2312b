#!/bin/sh
# Fetches the policy engines that `make bench` compares with, at the versions that pyproject.toml pins, into .bench.
# They are read from there by that bench alone: nothing of them is installed.
set -eu
cd "$(dirname "$0")/.."

pins=$(.venv/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"]))')
stamp=$(printf '%s\n' "$pins" "$(.venv/bin/python --version)" | cksum)
[ "$(cat .bench/.stamp 2>/dev/null || true)" = "$stamp" ] && exit 0

rm -rf .bench
if uv --version >/dev/null 2>&1; then
    # shellcheck disable=SC2086 -- one argument for each pin
    uv pip install --quiet --python .venv/bin/python --target .bench $pins
else
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install -qq --disable-pip-version-check --target .bench $pins
fi
printf '%s\n' "$stamp" >.bench/.stamp
