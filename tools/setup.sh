#!/bin/sh
# Creates or refreshes .venv: the gate, the SDK and everything the tests need, at the versions of uv.lock.
#
# With uv: `uv sync`. Without: `python -m venv` and pip, at the same versions (requirements-dev.txt is written
# from uv.lock by `make lock`). The second run takes milliseconds: a stamp in .venv names what it was made
# from, and where it stands, because a virtual environment that was moved or copied is broken.
set -eu
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

stamp_file=.venv/.claiim-setup
stamp="$(pwd) $(cat pyproject.toml sdk/pyproject.toml uv.lock requirements-dev.txt tools/setup.sh | cksum)"
if [ "$(cat "$stamp_file" 2>/dev/null || true)" = "$stamp" ] && .venv/bin/python -c 'import mitmproxy' 2>/dev/null; then
    exit 0
fi

# A uv that is only a pyenv shim exists and fails here, so it is run, not looked up.
if uv --version >/dev/null 2>&1; then with_uv=yes; else with_uv=no; fi

if [ "$with_uv" = yes ] && [ -z "${PYTHON:-}" ]; then
    # Only a machine without any fitting Python lets uv fetch one.
    python=$(tools/find-python.sh 2>/dev/null) || python=$(cat .python-version)
else
    python=$(tools/find-python.sh)
fi

# An environment that does not run, is too old, or was made elsewhere (its scripts name that place) starts anew.
if [ -e .venv ] && ! .venv/bin/python -I -c 'import os, sys
made = os.path.realpath(sys.prefix) == os.path.realpath(".venv")
script = open(".venv/bin/claiim").read(2000) if os.path.exists(".venv/bin/claiim") else os.path.abspath(".venv")
sys.exit(not (made and sys.version_info >= (3, 12) and os.path.abspath(".venv") in script))' 2>/dev/null; then
    say "replacing .venv, which does not work here"
    rm -rf .venv
fi
rm -f "$stamp_file"

if [ "$with_uv" = yes ]; then
    say "uv sync with $python; the first time takes a minute or two"
    # When uv has to fetch a Python and cannot, the finder's own message says what to install.
    [ -e .venv ] || uv venv --quiet --python "$python" .venv || tools/find-python.sh >/dev/null
    # An active virtual environment elsewhere must not become the target.
    env -u VIRTUAL_ENV -u UV_PROJECT_ENVIRONMENT uv sync --quiet --frozen --group dev --python .venv/bin/python
else
    say "python -m venv and pip with $python; the first time takes a minute or two"
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        say "$python has no ensurepip; on Debian and Ubuntu: apt install python3-venv"
        exit 1
    fi
    [ -e .venv ] || "$python" -m venv .venv
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    # The lock alone says which versions: a machine-wide constraint file could contradict it.
    pip() { env -u PIP_CONSTRAINT -u PIP_REQUIRE_VIRTUALENV -u PIP_TARGET -u PIP_USER .venv/bin/python -m pip "$@"; }
    # As uv does: the file names everything, so nothing is resolved, and what is imported is compiled when it is.
    pip install -qq --disable-pip-version-check --no-deps --no-compile --requirement requirements-dev.txt
    pip install -qq --disable-pip-version-check --no-deps --no-compile --no-build-isolation --editable . --editable sdk
fi

printf '%s\n' "$stamp" >"$stamp_file"
say "ready: .venv/bin/claiim"
