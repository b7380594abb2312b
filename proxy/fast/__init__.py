"""The fast engine: asyncio on uvloop, httptools and h2, TLS by `ssl`, on the pipeline that every engine serves.

The protocols are plain functions of bytes (`heads`, `bodies`, `tls`); `streams` owns the sockets.
"""
