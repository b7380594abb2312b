#!/bin/sh
# Fetches a dependency group that is no part of .venv, at the versions that pyproject.toml pins, into a folder of its own.
# It is read from there by one command alone: nothing of it is installed, and it may lack wheels for some Python.
#
#   tools/fetch-group.sh bench .bench
set -eu
cd "$(dirname "$0")/.."
group=$1 folder=$2

pins=$(.venv/bin/python -c 'import sys, tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]]))' "$group")
stamp=$(printf '%s\n' "$pins" "$(.venv/bin/python --version)" | cksum)
[ "$(cat "$folder/.stamp" 2>/dev/null || true)" = "$stamp" ] && exit 0

rm -rf "$folder"
if uv --version >/dev/null 2>&1; then
    # shellcheck disable=SC2086 -- one argument for each pin
    uv pip install --quiet --python .venv/bin/python --target "$folder" $pins
else
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install -qq --disable-pip-version-check --target "$folder" $pins
fi
printf '%s\n' "$stamp" >"$folder/.stamp"
