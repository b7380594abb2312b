"""Every request that the Python client of Docker makes, under the daemon's own name for what the client calls it.

Paths and methods are read from the client's source; which operation each of its functions stands for is written
below, in the client's words. Three groups: with the version in the path, without, and with "/" in names encoded. What
the client never sends (sessions, checkpoints, tokens of plugins) is not shown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from case import Case
from fetch import package

SAMPLE_EVERY = 3
SITE = '{"version": 1, "bind": [{"host": "docker.selftest.invalid", "pack": "docker"}]}'
HOST = "http://docker.selftest.invalid:2375"

FUNCTIONS = """
build ImageBuild, prune_builds BuildPrune, _attach_websocket ContainerAttachWebsocket, create_config ConfigCreate,
inspect_config ConfigInspect, remove_config ConfigDelete, configs ConfigList, attach ContainerAttach,
attach_socket ContainerAttach, commit ImageCommit, containers ContainerList,
create_container_from_config ContainerCreate, diff ContainerChanges, export ContainerExport,
get_archive ContainerArchive, inspect_container ContainerInspect, kill ContainerKill, logs ContainerLogs,
pause ContainerPause, port ContainerInspect, put_archive PutContainerArchive, prune_containers ContainerPrune,
remove_container ContainerDelete, rename ContainerRename, resize ContainerResize, restart ContainerRestart,
start ContainerStart, stats ContainerStats, stop ContainerStop, top ContainerTop, unpause ContainerUnpause,
update_container ContainerUpdate, wait ContainerWait, df SystemDataUsage, events SystemEvents, info SystemInfo,
login SystemAuth, ping SystemPing, version SystemVersion, exec_create ContainerExec, exec_inspect ExecInspect,
exec_resize ExecResize, exec_start ExecStart, get_image ImageGet, history ImageHistory, images ImageList,
import_image ImageCreate, import_image_from_data ImageCreate, inspect_image ImageInspect,
inspect_distribution DistributionInspect, load_image ImageLoad, prune_images ImagePrune, pull ImageCreate,
push ImagePush, remove_image ImageDelete, search ImageSearch, tag ImageTag, networks NetworkList,
create_network NetworkCreate, prune_networks NetworkPrune, remove_network NetworkDelete,
inspect_network NetworkInspect, connect_container_to_network NetworkConnect,
disconnect_container_from_network NetworkDisconnect, configure_plugin PluginSet, create_plugin PluginCreate,
disable_plugin PluginDisable, enable_plugin PluginEnable, inspect_plugin PluginInspect, pull_plugin PluginPull,
plugins PluginList, plugin_privileges GetPluginPrivileges, remove_plugin PluginDelete, upgrade_plugin PluginUpgrade,
create_secret SecretCreate, inspect_secret SecretInspect, remove_secret SecretDelete, secrets SecretList,
create_service ServiceCreate, inspect_service ServiceInspect, inspect_task TaskInspect, remove_service ServiceDelete,
services ServiceList, service_logs ServiceLogs, tasks TaskList, update_service ServiceUpdate,
get_unlock_key SwarmUnlockkey, init_swarm SwarmInit, inspect_swarm SwarmInspect, inspect_node NodeInspect,
join_swarm SwarmJoin, leave_swarm SwarmLeave, nodes NodeList, remove_node NodeDelete, unlock_swarm SwarmUnlock,
update_node NodeUpdate, update_swarm SwarmUpdate, volumes VolumeList, create_volume VolumeCreate,
inspect_volume VolumeInspect, prune_volumes VolumePrune, remove_volume VolumeDelete
"""

# The client sends a push of a plugin to ".../pull", which the daemon does not serve.
BROKEN = frozenset({"push_plugin"})

SENT = {"_get": "GET", "_post": "POST", "_post_json": "POST", "_put": "PUT", "_delete": "DELETE"}
SOCKETS = {"_attach_websocket": "GET", "attach_socket": "POST"}
"""Methods of what the client sends without its usual helpers."""

SLASHED = ("/images/", "/plugins/", "/distribution/")
JSON = (("Content-Type", "application/json"),)


def cases() -> Iterator[Case]:
    """Yield the requests of every function of the client."""
    names = dict(pair.split() for pair in FUNCTIONS.replace("\n", " ").split(","))
    for function, method, template in requests(package("PyPI:docker").folder / "docker" / "api"):
        wanted = frozenset({f"docker:{names[function]}"})
        slashed = template.startswith(SLASHED)
        for group, version, name in (
            ("", "/v1.47", "registry.acme.test/shop/x1" if slashed else "x1"),
            ("without a version", "", "x1"),
            ("encoded names", "/v1.24", "registry.acme.test%2Fshop%2Fx1" if slashed else "x1"),
        ):
            url = template.replace("{0}", name).replace("{1}", "7")
            yield Case(method, f"{HOST}{version}{url}", wanted, JSON, b"{}", group)


def requests(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield function, method and path template of everything the client sends."""
    for module in sorted(folder.glob("*.py")):
        for function in ast.walk(ast.parse(module.read_text("utf-8"))):
            if not isinstance(function, ast.FunctionDef) or function.name in BROKEN:
                continue
            calls = [call for call in ast.walk(function) if isinstance(call, ast.Call)]
            methods = {SENT[name] for call in calls if (name := ast.unparse(call.func).removeprefix("self.")) in SENT}
            methods = methods or {SOCKETS.get(function.name, "")}
            for call in calls:
                if ast.unparse(call.func) == "self._url" and isinstance(call.args[0], ast.Constant):
                    (method,) = methods
                    yield function.name, method, ast.literal_eval(call.args[0])
