"""Fixtures for the targets; a conftest that wants them imports them.

from support.fixtures import *  # noqa: F403
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.targets import GitServer, H2Origin, KubernetesApi, MotoAws, Origin, TerraformState

__all__ = [
    "git_server",
    "h2_origin",
    "kubernetes_api",
    "moto_aws",
    "moto_server",
    "origin",
    "plain_origin",
    "target_ca",
    "target_ca_pem",
    "terraform_state",
]


@pytest.fixture(scope="session")
def target_ca() -> trustme.CA:
    """The authority that vouches for every target."""
    return trustme.CA()


@pytest.fixture(scope="session")
def target_ca_pem(target_ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate as a file."""
    path = tmp_path_factory.mktemp("target-ca") / "ca.pem"
    target_ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def origin(target_ca: trustme.CA) -> Iterator[Origin]:
    with Origin(target_ca) as target:
        yield target


@pytest.fixture
def plain_origin(target_ca: trustme.CA) -> Iterator[Origin]:
    with Origin(target_ca, "plain.test", secure=False) as target:
        yield target


@pytest.fixture
def h2_origin(target_ca: trustme.CA) -> Iterator[H2Origin]:
    with H2Origin(target_ca) as target:
        yield target


@pytest.fixture
def kubernetes_api(target_ca: trustme.CA) -> Iterator[KubernetesApi]:
    with KubernetesApi(target_ca) as target:
        yield target


@pytest.fixture
def git_server(target_ca: trustme.CA, tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(target_ca, tmp_path / "git-root") as target:
        yield target


@pytest.fixture
def terraform_state(target_ca: trustme.CA) -> Iterator[TerraformState]:
    with TerraformState(target_ca) as target:
        yield target


@pytest.fixture(scope="session")
def moto_server(target_ca: trustme.CA) -> Iterator[MotoAws]:
    """One moto for the whole run: it takes seconds to import."""
    with MotoAws(target_ca) as target:
        yield target


@pytest.fixture
def moto_aws(moto_server: MotoAws) -> MotoAws:
    """The moto of the run, emptied."""
    moto_server.reset()
    return moto_server
