#!/bin/sh
# Fetches the clients that tests/clients/test_denials_*.py runs and no machine brings along, at the versions that
# tools/clients pins, into .clients: a virtual environment, and node_modules where there is npm.
set -eu
cd "$(dirname "$0")/.."

stamp="$(pwd) $(cat tools/clients/* | cksum) $(.venv/bin/python --version) $(npm --version 2>/dev/null || true)"
[ "$(cat .clients/.stamp 2>/dev/null || true)" = "$stamp" ] && exit 0

rm -rf .clients
if uv --version >/dev/null 2>&1; then
    uv venv --quiet --python .venv/bin/python .clients
    uv pip install --quiet --python .clients/bin/python --requirements tools/clients/requirements.txt
else
    .venv/bin/python -m venv .clients
    env -u PIP_CONSTRAINT .clients/bin/python -m pip install -qq --disable-pip-version-check --no-compile \
        --requirement tools/clients/requirements.txt
fi
if npm --version >/dev/null 2>&1; then
    cp tools/clients/package.json tools/clients/package-lock.json .clients
    npm ci --prefix .clients --silent --no-audit --no-fund --ignore-scripts
fi
printf '%s\n' "$stamp" >.clients/.stamp
