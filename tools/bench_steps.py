"""How many steps of Python's interpreter a request takes, by part; part of `make bench`.

    bench_steps.py        some seconds

One client sends the same allowed request through a gate in this process, which has its target beside it. Every step is
counted, so that the figures are the same on any machine and under any load, within some in a hundred: where times are
noise, they show whether a change made a request cheaper. Of what is done in C (SQLite, TLS, hashes) they say nothing.
"""

import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import CodeType

import trustme

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from support.clients import client_of  # noqa: E402 -- found by the line above
from support.gate import LiveGate, running  # noqa: E402
from support.rules import ORIGIN_MAPPINGS  # noqa: E402
from support.targets import Origin  # noqa: E402

WARMED, COUNTED = 60, 60
_TOOL = sys.monitoring.PROFILER_ID


def count(engine: str) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Steps of a request by thread, and by file and function in the event loop's."""
    certificates = trustme.CA()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates.cert_pem.write_to_path(str(folder / "target.pem"))
        with Origin(certificates) as origin:
            gate = LiveGate(
                folder / "gate",
                origin,
                target_ca=folder / "target.pem",
                mappings=ORIGIN_MAPPINGS,
                config={"proxy": {"engine": engine}},
            )
            with running(gate):
                return _counted(gate)


def _counted(gate: LiveGate) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    async def loop_thread() -> int:
        return threading.get_ident()

    loop = gate.call(loop_thread())
    codes: Counter[tuple[int, CodeType]] = Counter()

    def step(code: CodeType, _: int) -> None:
        codes[threading.get_ident(), code] += 1

    with client_of(gate) as client:
        for _ in range(WARMED):
            assert client.get("https://origin.test/echo?page=2").status_code == 200
        sys.monitoring.use_tool_id(_TOOL, "steps")
        sys.monitoring.register_callback(_TOOL, sys.monitoring.events.INSTRUCTION, step)
        sys.monitoring.set_events(_TOOL, sys.monitoring.events.INSTRUCTION)
        for _ in range(COUNTED):
            client.get("https://origin.test/echo?page=2")
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    threads: Counter[str] = Counter()
    functions: Counter[tuple[str, str]] = Counter()
    for (thread, code), steps in codes.items():
        threads["event loop" if thread == loop else names.get(thread, "")] += steps
        if thread == loop:
            functions[_file(code.co_filename), code.co_qualname] += steps
    return threads, functions


def _file(path: str) -> str:
    return str(Path(path).relative_to(ROOT)) if path.startswith(f"{ROOT}/") and ".venv" not in path else Path(path).name


def _part(file: str) -> str:
    room, _, rest = file.partition("/")
    if not rest:
        return "libraries, and making values"
    inner = rest.partition("/")[0]
    return f"{room}/{inner}" if room == "proxy" and inner in ("fast", "mitm", "wire") else room


def main() -> None:
    """Print them for both engines."""
    for engine in ("fast", "mitmproxy"):
        threads, functions = count(engine)
        parts: Counter[str] = Counter()
        for (file, _), steps in functions.items():
            parts[_part(file)] += steps
        told = ", ".join(f"{name} {threads[name] / COUNTED:,.0f}" for name in ("event loop", "chron-writer"))
        print(f"  {engine}: {told}")
        for part, steps in parts.most_common():
            print(f"    {part:<60}{steps / COUNTED:>8,.0f}")
        print("  most in one function:")
        for (file, name), steps in functions.most_common(15):
            print(f"    {f'{file} {name}':<60}{steps / COUNTED:>8,.0f}")


if __name__ == "__main__":
    main()
