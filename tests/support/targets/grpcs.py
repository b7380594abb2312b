"""A gRPC server: messages are bytes, and every kind of call says back what it hears.

/echo.Echo/Unary      one in, one out
/echo.Echo/Down       one in, that many out as its number says
/echo.Echo/Up         many in, their number out
/echo.Echo/Both       many in, each said back before the next is heard
/echo.Echo/Fail       status 5 (NOT_FOUND), in trailers after the head
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
import trustme

NAME = "grpc.test"


class GrpcServer:
    """Listens on 127.0.0.1 for `grpc.test`; looks like a `Target` to a `LiveGate`."""

    names = (NAME,)

    def __init__(self, ca: trustme.CA) -> None:
        issued = ca.issue_cert(NAME)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        self._credentials = grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])
        self.seen: list[tuple[str, dict[str, Any]]] = []
        """Path and metadata of every call that arrived."""

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(4)
        self._server = grpc.server(self._threads)
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Down": grpc.unary_stream_rpc_method_handler(self._down),
            "Up": grpc.stream_unary_rpc_method_handler(self._up),
            "Both": grpc.stream_stream_rpc_method_handler(self._both),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("echo.Echo", handlers)])
        self.port = self._server.add_secure_port("127.0.0.1:0", self._credentials)
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._threads.shutdown()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _note(self, method: str, context: grpc.ServicerContext) -> None:
        self.seen.append((method, dict(context.invocation_metadata())))

    def _unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        self._note("Unary", context)
        context.set_trailing_metadata([("x-after", "the end")])
        return message

    def _down(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        self._note("Down", context)
        yield from (str(number).encode() for number in range(int(message)))

    def _up(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        self._note("Up", context)
        return str(sum(1 for _ in messages)).encode()

    def _both(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self._note("Both", context)
        yield from messages

    def _fail(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        self._note("Fail", context)
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        raise AssertionError
