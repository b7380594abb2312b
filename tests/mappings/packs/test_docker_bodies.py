"""Whether a container's settings keep it within its walls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import Problem, Request
from mappings.packs.docker_bodies import HARMLESS, container_facts

SETTINGS = st.one_of(st.just(True), st.integers(1), st.text(min_size=1), st.lists(st.integers(), min_size=1))
NAMES = st.text(min_size=1, max_size=20) | st.sampled_from(["privileged", "PIDMODE", "Devices", "UsernsMode", "memory"])


def _facts(host_config: object) -> dict[str, str] | Problem:
    body = json.dumps({"Image": "web", "HostConfig": host_config}).encode()
    headers = (("content-type", "application/json"),)
    return container_facts(Request("POST", "http", "docker.acme.test", 2375, "/containers/create", (), headers, body))


def _stays_within(host_config: object) -> bool:
    facts = _facts(host_config)
    return not isinstance(facts, Problem) and facts["host_access"] == "false"


@given(NAMES.filter(lambda name: name not in HARMLESS and name not in ("NetworkMode", "IpcMode")), SETTINGS)
def test_a_setting_that_is_not_known_to_be_harmless_reaches_the_host(name: str, value: object) -> None:
    """Whatever a daemon may come to read, a container with it is not taken for one within its walls."""
    assert not _stays_within({"Memory": 1, name: value})


@pytest.mark.parametrize(
    "setting",
    [
        *({"Binds": ["data:/d", "/:/h"]}, {"Binds": ["./x:/h"]}, {"Binds": ["~/x:/h"]}, {"Binds": "data:/d"}),
        *({"Binds": ["data:/d:rw:/x"]}, {"Binds": [7]}, {"Binds": ["C:\\:/h"]}),
        *({"Mounts": [{"Type": "npipe"}]}, {"Mounts": [{}]}, {"Mounts": [7]}, {"Mounts": {"Type": "volume"}}),
        *({"Mounts": [{"Type": "volume", "BindOptions": {"Propagation": "shared"}}]},),
        *({"NetworkMode": "host"}, {"NetworkMode": "abcdef"}, {"NetworkMode": "container:x"}, {"NetworkMode": ["x"]}),
        *({"IpcMode": "host"}, {"IpcMode": "container:x"}, {"CgroupnsMode": "host"}, {"ReadonlyPaths": []}),
        *({"VolumesFrom": ["db"]}, {"SecurityOpt": ["seccomp=unconfined"]}, {"Runtime": "other"}),
    ],
    ids=str,
)
def test_a_setting_that_opens_the_walls_reaches_the_host(setting: dict[str, object]) -> None:
    """A folder, network, process or volume that is not the container's own is seen in every way to write it."""
    assert not _stays_within(setting)


@pytest.mark.parametrize(
    "setting",
    [
        *({}, {"Memory": 1}, {"Privileged": False}, {"Binds": None}, {"Binds": ["data:/d:ro"]}, {"Mounts": []}),
        *({"Mounts": [{"Type": "tmpfs", "Target": "/t"}]}, {"NetworkMode": "default"}, {"NetworkMode": "shop_net"}),
        *({"PidMode": "", "UTSMode": "", "CapAdd": None, "Devices": [], "OomScoreAdj": 0, "StorageOpt": {}},),
    ],
    ids=str,
)
def test_what_a_client_sends_for_a_plain_container_stays_within(setting: dict[str, object]) -> None:
    """Limits, volumes by name and everything left empty keep a container within its walls."""
    assert _stays_within(setting)
