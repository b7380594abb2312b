"""Small mappings and requests, so that each row of a table fits on a line."""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from mappings import Mappings, PackError, Request, canonical_host, canonical_target, compile_mappings, read_document

JSON = (("content-type", "application/json"),)

PACK = """
pack: shop
hosts: [api.shop.test]
operations:
  orders/list: GET /orders
  orders/get: GET /orders/{order}
  orders/head: HEAD /orders/{order}/meta
  orders/meta: GET /orders/{order}/meta
  orders/cancel: [ "POST /orders/{order}/cancel", "DELETE /orders/{order}" ]
  orders/mine: GET /orders/mine
  files/get: GET /files/{path+}
  files/lock: GET /files/{path+}?lock
  files/unlock: GET /files/{path+}?lock=off
  upload: POST up.shop.test/files/{path+}
  compare: GET /compare/{base}...{head}
rules:
  - id: cancel
    match: {op: "shop:orders/cancel"}
    action: "order:cancel"
    target: "shop/${order}"
"""


@pytest.fixture
def mapped() -> Callable[..., Mappings]:
    """Compile mapping texts, with the pack "shop" but not the shipped ones."""

    def compile_texts(*texts: str) -> Mappings:
        names = ["site.yaml", *(f"more{number}.yaml" for number in range(2, 9))]
        sites = [
            read_document(text if "version:" in text else f"version: 1\n{text}", name, error=PackError)
            for text, name in zip(texts, names, strict=False)
        ]
        return compile_mappings([read_document(PACK, "pack:shop"), *sites])

    return compile_texts


@pytest.fixture
def request_of() -> Callable[..., Request]:
    """Build a request from a line such as ``GET https://a.test/x?y=1``."""

    def build(
        line: str,
        body: bytes | str | None = b"",
        headers: tuple[tuple[str, str], ...] | None = None,
    ) -> Request:
        method, url = line.split(" ", 1)
        parts = urlsplit(url)
        target = canonical_target(url.split(parts.netloc, 1)[1] or "/")
        if headers is None:
            headers = JSON if body else ()
        data = body.encode() if isinstance(body, str) else body
        return Request(method, "https", canonical_host(parts.netloc), 443, target.path, target.query, headers, data)

    return build
