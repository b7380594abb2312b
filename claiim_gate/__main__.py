"""Start the command line, wherever the rooms are.

In the wheel the rooms lie inside this folder (`claiim_gate/proxy`, ...); in a checkout they lie beside it.
Putting this folder first on `sys.path` makes `import proxy` mean ours, even where another package
installed a module of that name.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run the command line and exit with its code."""
    if (_HERE / "proxy").is_dir():
        sys.path.insert(0, str(_HERE))
    try:
        from proxy.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while modules are read; from then on click says that it stopped
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
