#!/bin/sh
# Prints the path of a Python that can run the gate (3.12 or later, 3.13 preferred), or says what to install.
#
# Every candidate is run, never trusted by its name: a pyenv shim may exist and refuse to run in this folder,
# and `python3` may be anything. Order: $PYTHON, pyenv (what .python-version names, then any 3.13 or 3.12),
# PATH, what uv knows. Downloads nothing. Exit 1 and a message on stderr when there is none.
set -eu
cd "$(dirname "$0")/.."

# The base interpreter, not that of an active virtual environment: .venv must not be built from itself.
probe='import sys, venv
if sys.version_info < (3, 12) or not getattr(sys, "_is_gil_enabled", lambda: True)(): sys.exit(1)
print(getattr(sys, "_base_executable", "") or sys.executable)'

try() {
    [ -n "$1" ] || return 0
    found=$("$1" -I -c "$probe" 2>/dev/null) || return 0
    [ -x "$found" ] || return 0
    printf '%s\n' "$found"
    exit 0
}

if [ -n "${PYTHON:-}" ]; then
    try "$PYTHON"
    echo "PYTHON=\"$PYTHON\" is not a Python 3.12 or later; unset it or name another" >&2
    exit 1
fi

wanted=$(cat .python-version)
pyenv_prefix=$(pyenv prefix "$wanted" 2>/dev/null) && try "$pyenv_prefix/bin/python"
for minor in "$wanted" 3.13 3.12; do
    for folder in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$minor"*; do
        try "$folder/bin/python"
    done
done

for name in "python$wanted" python3.13 python3.12 python3.14 python3 python; do
    try "$(command -v "$name" || true)"
done

if uv --version >/dev/null 2>&1; then
    try "$(uv python find --system --no-python-downloads "$wanted" 2>/dev/null || true)"
    try "$(uv python find --system --no-python-downloads '>=3.12' 2>/dev/null || true)"
fi

cat >&2 <<'MESSAGE'
no Python 3.12 or later found. Install one of these, then run the same command again:
  pyenv:          pyenv install 3.13
  Debian, Ubuntu: apt install python3 python3-venv    (Debian 13, Ubuntu 24.04 or later)
  Fedora:         dnf install python3.13
  macOS:          brew install python@3.13
or install uv, which brings its own Python. Or name one yourself: make setup PYTHON=/path/to/python3
MESSAGE
exit 1
