"""Compiles proxy/wiring/java/Credentials.java into proxy/wiring/credentials.jar, the same bytes for the same compiler.

Java 8 and newer can load it. A test compiles the source again and compares it with what is in the jar.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "proxy" / "wiring" / "java" / "Credentials.java"
JAR = ROOT / "proxy" / "wiring" / "credentials.jar"
MANIFEST = "Manifest-Version: 1.0\r\nPremain-Class: Credentials\r\n\r\n"  # java.lang.instrument, package description


def compiled(folder: Path) -> dict[str, bytes]:
    """Compile the source into `folder`; the classes by their names in the jar."""
    subprocess.run(
        ["javac", "-Xlint:-options", "--release", "8", "-g:none", "-d", str(folder), str(SOURCE)], check=True
    )
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.class"))}


def main() -> int:
    """Write the jar."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(JAR, "w", zipfile.ZIP_DEFLATED) as jar:
        for name, content in {"META-INF/MANIFEST.MF": MANIFEST.encode(), **compiled(Path(folder))}.items():
            jar.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
