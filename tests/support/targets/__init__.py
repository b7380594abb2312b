"""Loopback targets for black-box tests: real servers with real TLS that record exactly what reached them.

Each runs on port 0 in a thread with an event loop of its own, so that a test may block on a client. Each is a
context manager; once it is left, its port is free. `seen` lists the requests, `connections` counts what was
accepted: a call that the gate denied leaves both as they were.
"""

from support.targets.base import Seen, Target
from support.targets.echo import EchoSocket
from support.targets.git import GitServer
from support.targets.h2 import H2Origin
from support.targets.kubernetes import KubernetesApi
from support.targets.moto import MotoAws, find_aws
from support.targets.origin import Origin
from support.targets.terraform import TerraformState

__all__ = [
    "EchoSocket",
    "GitServer",
    "H2Origin",
    "KubernetesApi",
    "MotoAws",
    "Origin",
    "Seen",
    "Target",
    "TerraformState",
    "find_aws",
]
