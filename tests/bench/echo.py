"""A bare grpc.aio server that answers what it is sent, or holds a stream open: what any call costs.

`python -m tests.bench.echo` prints its address, and serves until standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import uvloop


async def _echo(request: bytes, _: object) -> bytes:
    return request


async def _hold(request: bytes, _: object) -> AsyncIterator[bytes]:
    yield request
    await asyncio.Event().wait()


async def main() -> None:
    """Serve on a free port."""
    server = grpc.aio.server(
        options=(("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 10_000))
    )
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(_echo),
        "Hold": grpc.unary_stream_rpc_method_handler(_hold),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(main())
