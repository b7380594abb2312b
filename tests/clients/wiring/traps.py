"""What an agent's home and shell may hold that would lead its tools around the gate, or to another proxy.

Each is a setting that the tool reads and that is true somewhere: a company's proxy, an exception for a host.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml

DEAD = "http://127.0.0.1:9"
"""Another proxy; nobody listens at discard."""
ROOTS = "/etc/hostname"
"""A file of no certificates."""

HOME: Mapping[str, str] = {
    ".curlrc": f'proxy = "{DEAD}"\nnoproxy = "*"\n',
    ".wgetrc": f"use_proxy = off\nhttps_proxy = {DEAD}\n",
    ".gitconfig": f"[http]\n\tproxy = {DEAD}\n\tsslCAInfo = {ROOTS}\n",
    ".npmrc": f"noproxy=origin.test,other.test\nhttps-proxy={DEAD}\ncafile={ROOTS}\n",
    ".config/pip/pip.conf": f"[global]\nproxy = {DEAD}\ncert = {ROOTS}\n",
    ".aws/config": f"[default]\nca_bundle = {ROOTS}\n",
}
SHELL: Mapping[str, str] = {
    **dict.fromkeys(("HTTP_PROXY", "https_proxy", "Https_Proxy", "all_proxy", "npm_config_proxy", "grpc_proxy"), DEAD),
    "NO_PROXY": "*",
    "no_proxy": "origin.test,other.test,git.test",
    "No_Proxy": "*",
    "NPM_CONFIG_NOPROXY": "origin.test",
    "SSL_CERT_FILE": ROOTS,
    "SSL_CERT_DIR": "/etc/ssl/certs",
    "REQUESTS_CA_BUNDLE": ROOTS,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "Ann",
}  # fmt: skip


def write_traps(home: Path) -> dict[str, str]:
    """Write the files and return the variables."""
    for name, text in HOME.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    servers = {"allowed": "https://origin.test", "denied": "https://other.test"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": server, "proxy-url": DEAD, "certificate-authority": ROOTS}}
            for name, server in servers.items()
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name in servers],
        "users": [{"name": "me", "user": {"token": "kubernetes-token"}}],
    }
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text(yaml.safe_dump(config))
    return dict(SHELL)
