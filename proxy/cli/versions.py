"""Which versions are installed, for people and for reports."""


def version_of(distribution: str) -> str:
    """Return the version of an installed distribution."""
    from importlib import metadata  # 45 ms that look-ups need not pay

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(not installed)"
