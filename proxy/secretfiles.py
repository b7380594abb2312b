"""Reads the one line of a file that holds a secret; the line itself stands in no message."""

from pathlib import Path

from proxy.config import ConfigError, why


def read_secret_line(path: Path, what: str) -> str:
    """Return the line, "" where it is not ASCII; raises ConfigError when there is no file to read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError.plain(f"{path}: cannot read: {why(error)}; write {what} there") from None
    except UnicodeDecodeError:
        return ""


def read_token(path: Path) -> str:
    """Return the bearer token in a file; raises ConfigError when there is none."""
    token = read_secret_line(path, "the token")
    if not token or not token.isprintable() or " " in token:
        raise ConfigError.plain(f"{path}: not a token; write one line of printable ASCII without blanks")
    return token
