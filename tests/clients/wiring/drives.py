"""How each tool of the table is driven: the command that makes its call, where it may and where it may not.

A drive asks for one thing below a base URL, `https://origin.test` (allowed) or `https://other.test` (denied), and ends
with 0 only if it got it. `path` says which requests are its own.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clients.wiring import scripts

type Command = Callable[[str, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Drive:
    """One way in which a tool of the table makes a call."""

    needs: str
    """The program, as `needed` finds it."""
    path: str
    """A regular expression for the whole path and query of its requests."""
    command: Command
    """From the base URL and a folder of its own to the command."""
    environ: Callable[[str, Path], Mapping[str, str]] = field(default=lambda _base, _folder: {})


def python(name: str, script: str) -> Drive:
    """A Python program that gets the URL as its argument."""
    return Drive("python3", f"/{name}", lambda base, _: [sys.executable, "-c", script, f"{base}/{name}"])


def node(name: str, script: str, program: str = "node") -> Drive:
    """A Node program that gets the URL as its argument."""
    return Drive(program, f"/{name}", lambda base, _: [program, "-e", script, f"{base}/{name}"])


def written(folder: Path, name: str, text: str) -> str:
    """A file of the drive's own, and its name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def _cargo(base: str, folder: Path) -> list[str]:
    index = f'registries.shelf.index="sparse+{base}/cargo/"'
    return ["cargo", "search", "--config", index, "--registry", "shelf", "x"]


BY_HAND = '-gs "$(dirname "$SSL_CERT_FILE")/maven.xml"'


def _maven(base: str, folder: Path, by_hand: str = BY_HAND) -> list[str]:
    written(folder, "pom.xml", scripts.POM)
    settings = written(folder, "settings.xml", scripts.MAVEN_SETTINGS.replace("BASE", base))
    options = f'-B -ntp -Dmaven.repo.local="{folder / "repository"}"'
    return ["sh", "-c", f'exec mvn {options} {by_hand} -f "{folder}" -s "{settings}" validate']


def _terraform(base: str, folder: Path) -> list[str]:
    written(folder, "main.tf", f'terraform {{\n  backend "http" {{\n    address = "{base}/state"\n  }}\n}}\n')
    return ["terraform", f"-chdir={folder}", "init", "-input=false", "-no-color"]


def _kubectl(base: str, _folder: Path) -> list[str]:
    """A cluster of the user's own kubeconfig; the denied call is at another one."""
    return ["kubectl", "--context", "allowed" if "origin.test" in base else "denied", "get", "--raw", "/kubectl"]


def _java(name: str) -> Drive:
    return Drive("javac", f"/{name}", lambda base, _: ["java", name, f"{base}/{name}"])


def _gcloud(base: str, folder: Path) -> Mapping[str, str]:
    return {
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": written(folder, "token", "t0ken"),
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": f"{base}/",
    }


AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}

DRIVES: Mapping[str, Drive] = {
    "curl": Drive("curl", "/curl", lambda base, _: ["curl", "-sS", "--fail", f"{base}/curl"]),
    "wget": Drive("wget", "/wget", lambda base, _: ["wget", "-nv", "-O-", "--tries=1", f"{base}/wget"]),
    "git": Drive(
        "git", "/acme/shop.git/.*", lambda base, _: ["git", "ls-remote", f"{base}/acme/shop.git"],
        lambda _base, _folder: {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"},
    ),
    "requests": python("requests", scripts.REQUESTS),
    "httpx": python("httpx", scripts.HTTPX),
    "urllib": python("urllib", scripts.URLLIB),
    "aiohttp": python("aiohttp", scripts.AIOHTTP),
    "aiohttp-ws": python("ws", scripts.AIOHTTP_WS),
    "urllib3": python("urllib3", scripts.URLLIB3),
    "httplib2": python("httplib2", scripts.HTTPLIB2),
    "openai": Drive("python3", "/openai/models", lambda base, _: [sys.executable, "-c", scripts.OPENAI, f"{base}/openai"]),
    "anthropic": Drive(
        "python3", "/anthropic/v1/models.*", lambda base, _: [sys.executable, "-c", scripts.ANTHROPIC, f"{base}/anthropic"]
    ),
    "gRPC": Drive(
        "python3", "/echo.Echo/Unary", lambda base, _: [sys.executable, "-W", "ignore", "-c", scripts.GRPC, base]
    ),
    "boto3": Drive(
        "python3", "/boto3/key", lambda base, _: [sys.executable, "-W", "ignore", "-c", scripts.BOTO3, base],
        lambda _base, _folder: AWS,
    ),
    "aws": Drive(
        "aws", "/aws/key",
        lambda base, folder: ["aws", "s3api", "get-object", "--endpoint-url", base, "--bucket=aws", "--key=key", str(folder / "got")],
        lambda _base, _folder: AWS | {"AWS_MAX_ATTEMPTS": "1"},
    ),
    "node fetch": node("node-fetch", scripts.NODE_FETCH),
    "node https": node("node-https", scripts.NODE_HTTPS),
    "node undici": Drive(
        "undici", "/node-undici", lambda base, _: ["node", "-e", scripts.NODE_UNDICI, f"{base}/node-undici"],
        lambda _base, _folder: {"NODE_PATH": str(Path(__file__).with_name("node_modules"))},
    ),
    "node24 fetch": node("node24-fetch", scripts.NODE_FETCH, "node24"),
    "node24 https": node("node24-https", scripts.NODE_HTTPS, "node24"),
    "npm": Drive(
        "npm", "/npm/x", lambda base, _: ["npm", "view", "x", f"--registry={base}/npm/"],
        lambda _base, folder: {"npm_config_update_notifier": "false", "npm_config_cache": str(folder)},
    ),
    "pip": Drive(
        "python3", "/pip/x/",
        lambda base, _: [sys.executable, "-m", "pip", "index", "versions", "x", "--disable-pip-version-check", f"--index-url={base}/pip", "--retries=0"],
    ),
    "cargo": Drive("cargo", "/cargo/.*", _cargo, lambda _base, folder: {"CARGO_HOME": str(folder)}),
    "go": Drive(
        "go", "/goproxy/.*", lambda _base, _folder: ["go", "list", "-m", "-versions", "example.test/x"],
        lambda base, folder: {
            "GOPROXY": f"{base}/goproxy", "GONOSUMDB": "*", "GOFLAGS": "-mod=mod", "GOPATH": str(folder),
            "GOCACHE": str(folder / "cache"),
        },
    ),
    "java": _java("Plain"),
    "java HttpClient": _java("Client"),
    "maven": Drive("mvn", "/maven/.*", _maven),
    "gcloud": Drive("gcloud", "/v1/projects/acme.*", lambda _base, _folder: ["gcloud", "projects", "describe", "acme"], _gcloud),
    "kubectl": Drive("kubectl", "/kubectl", _kubectl),
    "kubectl by hand": Drive(
        "kubectl", "/kubectl-by-hand",
        lambda base, _: ["sh", "-c", f'kubectl --server={base} --certificate-authority="$SSL_CERT_FILE" --token=t get --raw /kubectl-by-hand'],
        lambda _base, _folder: {"KUBECONFIG": "/nonexistent"},
    ),
    "terraform": Drive(
        "terraform", "/state", _terraform,
        lambda _base, folder: {"CHECKPOINT_DISABLE": "1", "TF_DATA_DIR": str(folder / "tf")},
    ),
    "docker": Drive(
        "docker", "/v1.44/containers/json", lambda _base, _folder: ["docker", "ps"],
        lambda base, folder: {
            "DOCKER_HOST": base.replace("https:", "tcp:") + ":443", "DOCKER_TLS_VERIFY": "1", "DOCKER_API_VERSION": "1.44",
            "DOCKER_CONFIG": str(folder),
        },
    ),
    "gh": Drive(
        "gh", "/api/v3/meta", lambda base, _: ["gh", "api", "--hostname", base.removeprefix("https://"), "meta"],
        lambda _base, folder: {"GH_ENTERPRISE_TOKEN": "t0ken", "GH_CONFIG_DIR": str(folder)},
    ),
    "ruby": Drive("ruby", "/ruby", lambda base, _: ["ruby", "-e", scripts.RUBY, f"{base}/ruby"]),
    "deno": Drive(
        "deno", "/deno", lambda base, _: ["deno", "eval", "--no-config", scripts.DENO, f"{base}/deno"],
        lambda _base, folder: {"DENO_DIR": str(folder), "DENO_NO_UPDATE_CHECK": "1"},
    ),
}  # fmt: skip


TURNED_AWAY: Mapping[str, Drive] = {
    "java HttpClient": _java("Alone"),
    "maven": Drive("mvn", "/", lambda base, folder: _maven(base, folder, by_hand="")),
}
"""What comes to the gate without the credentials that have to be given by hand: 407, recorded as nobody's."""

AROUND: Mapping[str, Drive] = {
    "aiohttp.test": Drive("python3", "", lambda base, _: [sys.executable, "-c", scripts.AIOHTTP_ALONE, base]),
    "urllib3.test": Drive("python3", "", lambda base, _: [sys.executable, "-c", scripts.URLLIB3_ALONE, base]),
    "httplib2.test": Drive("python3", "", lambda base, _: [sys.executable, "-c", scripts.HTTPLIB2_ALONE, base]),
    "psql.test": Drive("psql", "", lambda _base, _folder: ["psql", "-h", "psql.test", "-c", "select 1"]),
    "ssh.test": Drive("ssh", "", lambda _base, _folder: ["git", "ls-remote", "ssh://git@ssh.test/acme/shop.git"]),
}
"""What goes around the gate: by no proxy at all, or, of the first three, without what has to be done by hand. By its host."""
