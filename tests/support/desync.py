"""Framing cases of others, from the folder that CLAIIM_CORPORA names; without it there are none."""

import os
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(os.environ.get("CLAIIM_CORPORA", "/nonexistent")) / "http-desync-guardian"

CASES: list[dict[str, Any]] = [
    {**case, "file": path.stem} for path in sorted(_FOLDER.glob("*.yaml")) for case in yaml.safe_load(path.read_text())
]


def raw(case: dict[str, Any], host: str) -> bytes:
    """The head of a case, with this Host where it has none."""
    lines = [f"{case.get('method', 'GET')} {case.get('uri', '/')} {case.get('version', 'HTTP/1.1')}"]
    headers = case.get("headers") or []
    if not any(str(header["name"]).strip().lower() == "host" for header in headers):
        lines.append(f"Host: {host}")
    lines += [f"{header['name']}: {'' if header['value'] is None else header['value']}" for header in headers]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
