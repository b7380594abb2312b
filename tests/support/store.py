"""A store of objects by HTTP, as S3 keeps them: what was locked is not changed."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class ObjectStore:
    """Takes objects by PUT and gives them by GET between enter and exit."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.status = 0
        """Answered to everything while it is set."""
        self._locked: set[str] = set()
        self.changed = threading.Condition()

    def __enter__(self) -> Self:
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(store.put(self.path, dict(self.headers.items()), data), b"")

            def do_GET(self) -> None:
                store.requests.append(("GET", self.path, dict(self.headers.items())))
                found = store.objects.get(self.path)
                self.answer(store.status or (404 if found is None else 200), found or b"")

            def answer(self, status: int, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/claiim"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, path: str, headers: dict[str, str], data: bytes) -> int:
        """Keep an object unless it is locked; the status to answer."""
        with self.changed:
            self.requests.append(("PUT", path, headers))
            if self.status or path in self._locked:
                self.changed.notify_all()
                return self.status or 403
            self.objects[path] = data
            if headers.get("x-amz-object-lock-mode") == "COMPLIANCE":
                self._locked.add(path)
            self.changed.notify_all()
            return 200

    def wait_put(self, count: int) -> None:
        """Wait for so many PUTs in all."""
        with self.changed:
            done = self.changed.wait_for(lambda: sum(verb == "PUT" for verb, _, _ in self.requests) >= count, 30)
            assert done, self.requests
