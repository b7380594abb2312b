"""The files that a gate keeps for itself in its state folder; each fault is one line with its remedy."""

import os
from pathlib import Path

from proxy.ca import read_roots
from proxy.config import Config, ConfigError, why
from proxy.wiring import write_bundle


def make_state(state: Path) -> None:
    """Make the folder, for this user alone; raises ConfigError."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError.plain(f"{state}: cannot create: {why(error)}; set another state folder") from None


def write_roots(config: Config) -> Path:
    """Write the file of roots that targets are verified against: the system's, and the configured ones."""
    path = config.state / "upstream-roots.pem"
    extra = b"" if config.upstream.ca_bundle is None else read_roots(config.upstream.ca_bundle)
    try:
        write_bundle(path, extra)
    except OSError as error:
        raise _unwritable(path, error) from None
    return path


def write_operator_token(path: Path, token: str) -> None:
    """Put the token into a file that only this user can read."""
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError.plain(f"{path}: cannot write: {why(error)}; make the state folder writable")
