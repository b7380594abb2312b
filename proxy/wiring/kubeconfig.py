"""A kubeconfig to be read before the user's own: the same clusters, reached through the gate and trusted by its CA.

A cluster's `certificate-authority` replaces all other roots, its `proxy-url` wins over HTTPS_PROXY, and a server on
loopback is never proxied by the environment. In a list of kubeconfigs the first that names a cluster wins, whole
("Organizing Cluster Access Using kubeconfig Files", Merging kubeconfig files). Users and contexts stay where they are:
nothing secret of theirs is copied. The proxy's URL is in it, so the file is its owner's alone.

    KUBECONFIG=/tmp/claiim-run-x/kubeconfig:/home/ann/.kube/config

kubectl reads the first document of a file and no other, and takes what it does not know (`!tag`, a date) for text. A
cluster that only it could read would go around the gate, so it is read the same way here. A file that cannot be read,
or is no kubeconfig, is left to the tool to complain about.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml


def write_kubeconfig(folder: Path, proxy_url: str, bundle: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Write the file into `folder` and return the variable; empty when the user has no clusters. Raises OSError."""
    home = [os.path.join(inherited["HOME"], ".kube", "config")] if inherited.get("HOME") else []  # noqa: PTH118
    own = list(filter(None, inherited.get("KUBECONFIG", "").split(os.pathsep))) or home
    clusters = through(_clusters(own), proxy_url, bundle)
    if not clusters:
        return {}
    path = folder / "kubeconfig"
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": clusters}, sort_keys=False)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return {"KUBECONFIG": os.pathsep.join((str(path), *own))}


def through(clusters: Iterable[Any], proxy_url: str, bundle: Path) -> list[dict[str, Any]]:
    """The same clusters as seen from behind the gate; of two with one name the first, what is no cluster left out."""
    seen: dict[str, dict[str, Any]] = {}
    for named in clusters:
        match named:
            case {"name": str(name), "cluster": {"server": str(server)} as given} if name not in seen:
                kept = {key: given[key] for key in ("tls-server-name",) if key in given}
                seen[name] = {"server": server, **kept, "certificate-authority": str(bundle), "proxy-url": proxy_url}
    return [{"name": name, "cluster": cluster} for name, cluster in seen.items()]


def _untagged(loader: "_AsText", node: yaml.Node) -> Any:
    match node:
        case yaml.MappingNode():
            return loader.construct_mapping(node, deep=True)
        case yaml.SequenceNode():
            return loader.construct_sequence(node, deep=True)
        case _:
            return node.value


class _AsText(yaml.SafeLoader):
    """Every scalar is text, whatever it looks like or says it is."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012 -- merges alone
    yaml_constructors = {None: _untagged}  # noqa: RUF012


def _clusters(paths: Iterable[str]) -> Iterable[Any]:
    for path in paths:
        try:
            # Of several documents the first: the others are not even looked at.
            config = next(yaml.load_all(Path(path).read_bytes(), _AsText), None)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):  # a ValueError: not UTF-8
            continue
        if isinstance(config, dict) and isinstance(config.get("clusters"), list):
            yield from config["clusters"]
