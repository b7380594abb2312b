"""Debian's docker-registry over TLS: a process of its own that stores into a folder."""

import gzip
import json
import re
import shutil
import subprocess
import threading
from hashlib import sha256
from pathlib import Path
from typing import Self

import trustme
import yaml


class Registry:
    """Started with `with`; what it was asked is in its own access log, `methods`."""

    names = ("registry.test",)

    def __init__(self, program: str, ca: trustme.CA, folder: Path) -> None:
        self._program = program
        self._folder = folder
        folder.mkdir()
        issued = ca.issue_cert(*self.names)
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "pair.pem"))
        self._log: list[str] = []

    def __enter__(self) -> Self:
        pair = str(self._folder / "pair.pem")
        config = {
            "version": "0.1",
            "log": {"formatter": "json", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "store")}},
            "http": {"addr": "127.0.0.1:0", "tls": {"certificate": pair, "key": pair}},
        }
        (self._folder / "config.yml").write_text(yaml.safe_dump(config))
        self._process = subprocess.Popen(
            [self._program, "serve", str(self._folder / "config.yml")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"PATH": "", "HOME": str(self._folder)},
        )  # fmt: skip
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"listening on 127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
            self._log.append(line)
        else:
            raise RuntimeError("".join(self._log))
        self._log.clear()
        self._reader = threading.Thread(target=lambda: self._log.extend(self._process.stdout or ()))
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self._folder)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def methods(self) -> set[str]:
        """Of every request that it has answered, as its access log has them."""
        lines = [re.search(r'"([A-Z]+) \S+ HTTP/', line) for line in self._log]
        return {found[1] for found in lines if found}

    def tags(self, name: str) -> list[str]:
        """What is there of a repository, from its store."""
        folder = self._folder / "store/docker/registry/v2/repositories" / name / "_manifests/tags"
        return sorted(path.name for path in folder.glob("*"))


def image(folder: Path, layer: bytes) -> str:
    """An image in the OCI layout whose one layer are these bytes, which gzip has packed, as skopeo names it."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content: bytes, kind: str) -> dict[str, object]:
        digest = sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    described = put(layer, "layer.v1.tar+gzip")
    settings = {"architecture": "amd64", "os": "linux", "config": {}}
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{sha256(gzip.decompress(layer)).hexdigest()}"]}
    config = put(json.dumps({**settings, "rootfs": rootfs}).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": [described]}
    entry = put(
        json.dumps({**manifest, "mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode(), "manifest.v1+json"
    )
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{folder}"
