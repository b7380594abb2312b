"""Squid, as companies have it before everything: it wants credentials, and opens tunnels for who has them."""

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from support.needed import needed
from support.until import until

HELPER = """#!/bin/sh
while read -r line; do
    [ "$line" = '{line}' ] && echo OK || echo ERR
done
"""
"""wiki.squid-cache.org, Features/AddonHelpers, "Basic Authentication": user and password, escaped, a blank between."""

CONFIG = """
http_port 127.0.0.1:{port}
pinger_enable off
pid_filename none
access_log none
cache_log {folder}/log
cache_store_log none
netdb_filename none
cache deny all
hosts_file {folder}/hosts
shutdown_lifetime 0 seconds
auth_param basic program {folder}/helper
auth_param basic children 1 startup=1
acl known proxy_auth REQUIRED
http_access deny !known
http_access allow all
"""


class Squid:
    """A running one; it resolves `names`, all of them to this machine. What it writes goes when it is stopped."""

    def __init__(self, credentials: str, *names: str) -> None:
        # It becomes another user, who sees no folder of pytest's.
        self._folder = Path(tempfile.mkdtemp(prefix="claiim-squid-"))
        self._folder.chmod(0o777)
        user, _, password = credentials.partition(":")
        helper = self._folder / "helper"
        helper.write_text(HELPER.format(line=f"{user} {quote(password, safe='-/')}"))
        helper.chmod(0o755)
        (self._folder / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in names))
        with socket.create_server(("127.0.0.1", 0)) as free:  # it takes no port 0
            self.port = free.getsockname()[1]
        config = self._folder / "squid.conf"
        config.write_text(CONFIG.format(port=self.port, folder=self._folder))
        self._process = subprocess.Popen(
            [needed("squid"), "-N", "-n", f"t{self.port}", "-f", str(config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until(self._listens)
        except BaseException:
            self.stop()
            raise

    def _listens(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)
        shutil.rmtree(self._folder)
