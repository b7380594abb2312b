"""What the body of a Docker request asks of the host: whether the containers it makes stay within their walls.

Decides nothing about whether that is allowed. A container is *confined* when every setting that is not empty is on
a list of harmless ones; everything else, also what a later daemon may add, counts as reaching the host. The daemon
reads names of fields in any case (Go, package encoding/json), so a harmless name in another case is not on the list,
and ``hostconfig`` is a conflict.

    {"Image": "web", "HostConfig": {"Memory": 1, "Binds": null}}        confined
    {"HostConfig": {"Privileged": true}}                                reaches the host, and privileged
    {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/"}]}}       reaches the host
    {"HostConfig": {"MaskedPaths": []}}                                 reaches the host: unmasks parts of /proc
    {"hostconfig": {"Privileged": true}}                                conflict
"""

import re
from collections.abc import Callable, Mapping

from mappings.bodies import MISSING, Pointer, look_up, read_json, read_pointer
from mappings.request import Request
from mappings.resolution import UNREADABLE, Problem

HARMLESS = frozenset(
    {
        *("AutoRemove", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps"),
        *("BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice", "CapDrop", "ConsoleSize", "CpuCount"),
        *("CpuPercent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime", "CpuShares", "CpusetCpus"),
        *("CpusetMems", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "IOMaximumBandwidth", "IOMaximumIOps", "Init"),
        *("KernelMemory", "KernelMemoryTCP", "Links", "LogConfig", "Memory", "MemoryReservation"),
        *("MemorySwap", "MemorySwappiness", "NanoCpus", "PidsLimit", "PortBindings", "PublishAllPorts"),
        *("ReadonlyRootfs", "RestartPolicy", "ShmSize", "Tmpfs", "Ulimits"),
    }
)
"""Fields of HostConfig that limit or only name (Engine API, "Create a container")."""

HARMLESS_IN_SERVICES = frozenset(
    {
        *("Args", "CapabilityDrop", "Command", "Configs", "DNSConfig", "Dir", "Env", "Groups", "HealthCheck"),
        *("Hostname", "Hosts", "Image", "Init", "Labels", "OpenStdin", "ReadOnly", "Secrets"),
        *("StopGracePeriod", "StopSignal", "TTY", "Ulimits", "User"),
    }
)
"""Fields of ContainerSpec that limit or only name (Engine API, "Create a service")."""

HARMLESS_IN_TASKS = frozenset({"ForceUpdate", "LogDriver", "Placement", "Resources", "RestartPolicy"})
"""Fields of TaskTemplate, likewise."""

HARMLESS_IN_MOUNTS = frozenset({"Consistency", "ReadOnly", "Source", "Target", "TmpfsOptions"})
"""Fields of a mount whose type is confined."""

_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*:/[^:]*(?::[A-Za-z,]+)?")
"""A bind of a volume by name: a source that is a path begins with "/" (Engine API, HostConfig.Binds)."""

# What is hexadecimal throughout may be the start of the id of the host's own network.
_NETWORK = re.compile(r"(?!host\Z)(?=[0-9a-f]*[^0-9a-f])[A-Za-z0-9][A-Za-z0-9_.-]*")

_EMPTY: tuple[object, ...] = (None, False, 0, "", [], {})
_HOST_CONFIG = read_pointer("HostConfig")
_IMAGE = read_pointer("Image")
_PRIVILEGED = read_pointer("Privileged")
_ENDPOINTS = read_pointer("NetworkingConfig.EndpointsConfig")
_TASK = read_pointer("TaskTemplate")
_SPEC = read_pointer("ContainerSpec")

Check = Callable[[object], bool]


class _ProblemError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def container_facts(request: Request) -> dict[str, str] | Problem:
    """Return the captures ``image``, ``privileged`` and ``host_access`` of a container's creation."""
    try:
        body = _body(request)
        host = _object(_field(body, _HOST_CONFIG))
        networks = all(map(_network_confined, _object(_field(body, _ENDPOINTS))))
        return {
            "image": _text(_field(body, _IMAGE)),
            "privileged": _word(_field(host, _PRIVILEGED) not in (MISSING, False)),
            "host_access": _word(not (networks and _confined(host, HARMLESS, _CHECKS))),
        }
    except _ProblemError as found:
        return found.problem


def service_facts(request: Request) -> dict[str, str] | Problem:
    """Return the captures ``image`` and ``host_access`` of a service's creation or change."""
    try:
        body = _body(request)
        task = _object(_field(body, _TASK))
        spec = _object(_field(task, _SPEC))
        confined = _confined(spec, HARMLESS_IN_SERVICES, {"Mounts": _mounts_confined})
        around = _confined(task, HARMLESS_IN_TASKS | {"ContainerSpec"}, {"Networks": _networks_confined})
        networks = _networks_confined(body.get("Networks") or [])
        return {"image": _text(_field(spec, _IMAGE)), "host_access": _word(not (confined and around and networks))}
    except _ProblemError as found:
        return found.problem


def _body(request: Request) -> dict[str, object]:
    value = read_json(request)
    if isinstance(value, Problem):
        raise _ProblemError(value)
    return _object(value)


def _field(value: object, pointer: Pointer) -> object:
    found = look_up(value, pointer)
    if isinstance(found, Problem):
        raise _ProblemError(found)
    return found


def _object(value: object) -> dict[str, object]:
    """Return an object, an empty one for nothing."""
    if value is MISSING:
        return {}
    if not isinstance(value, dict):
        raise _ProblemError(Problem(UNREADABLE, "the body holds something else where an object belongs"))
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _word(value: bool) -> str:
    return "true" if value else "false"


def _confined(settings: Mapping[str, object], harmless: frozenset[str], checks: Mapping[str, Check]) -> bool:
    return all(
        name in harmless or (checks[name](value) if name in checks else _is_empty(value))
        for name, value in settings.items()
    )


def _is_empty(value: object) -> bool:
    return value in _EMPTY or (isinstance(value, dict) and all(each in _EMPTY for each in value.values()))


def _binds_confined(value: object) -> bool:
    return _all(value, lambda bind: isinstance(bind, str) and bool(_VOLUME.fullmatch(bind)))


def _mounts_confined(value: object) -> bool:
    return _all(value, _mount_confined)


def _mount_confined(mount: object) -> bool:
    # A volume that is made with options of its own driver may be a folder of the host.
    checks: dict[str, Check] = {"Type": _one_of("volume", "tmpfs"), "VolumeOptions": _options_confined}
    return isinstance(mount, dict) and "Type" in mount and _confined(mount, HARMLESS_IN_MOUNTS, checks)


def _options_confined(value: object) -> bool:
    return value is None or (isinstance(value, dict) and _confined(value, frozenset({"Labels", "NoCopy"}), {}))


def _networks_confined(value: object) -> bool:
    return _all(value, lambda network: isinstance(network, dict) and _network_confined(network.get("Target")))


def _network_confined(value: object) -> bool:
    return value in _EMPTY or (isinstance(value, str) and bool(_NETWORK.fullmatch(value)))


def _all(value: object, check: Check) -> bool:
    return value is None or (isinstance(value, list) and all(map(check, value)))


def _one_of(*words: str | None) -> Check:
    return lambda value: value in words


_CHECKS: Mapping[str, Check] = {
    "Binds": _binds_confined,
    "CgroupnsMode": _one_of("", "private"),
    "IpcMode": _one_of("", "none", "private", "shareable"),
    # Null leaves the daemon's own masks, an empty list takes them away.
    "MaskedPaths": _one_of(None),
    "Mounts": _mounts_confined,
    "NetworkMode": _network_confined,
    "ReadonlyPaths": _one_of(None),
}
"""Fields of HostConfig that stay within the walls with some values."""
