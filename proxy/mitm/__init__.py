"""The mitmproxy engine: bytes in, plain values to the pipeline, bytes out.

This package alone imports mitmproxy; only its modules touch flow objects. It uses mitmproxy's protocol
layers as a library, without its `Master` and add-on manager: the add-on manager logs an exception in a
hook and lets the request through, so here one dispatcher owns every hook and turns every exception into
a refusal (`proxy.mitm.connection`). Nothing goes upstream on a stream that carries no permit
(`proxy.mitm.layers`).
"""

from proxy.mitm.engine import Engine

__all__ = ["Engine"]
