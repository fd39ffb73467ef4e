"""A TCP line with faults between two programs: slow, cut after so many bytes, half open, or a black hole.

It runs in a thread with an asyncio loop of its own; the bytes it let through are counted.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread


@dataclass(frozen=True)
class Fault:
    """What is wrong with a line; each is of one direction, and everything else passes."""

    latency_s: float = 0.0
    """Before each piece, both ways."""
    reset_after: int | None = None
    """Bytes to the server, of all connections, after which the connection is reset; once."""
    half_open_after: int | None = None
    """Bytes to the server after which nothing passes any more, either way, and nobody is told."""
    drip_s: float | None = None
    """The server's bytes come one by one, with this pause before each."""
    black_hole: bool = False
    """The connection is accepted, and nothing passes."""


@dataclass
class Line:
    """One line that is up."""

    to: tuple[str, int]
    fault: Fault
    port: int = 0
    connections: int = 0
    sent: int = 0
    """Bytes that came from clients."""
    _resets: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _ready: Event = field(default_factory=Event)

    def mend(self) -> None:
        """From now on everything passes."""
        self.fault = Fault()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.fault.black_hole:
            with suppress(ConnectionError):
                while await reader.read(65536):
                    pass
            writer.close()
            return
        try:
            upstream, downstream = await asyncio.open_connection(*self.to)
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, downstream)
        both = (self._forward(reader, downstream, ends), self._back(upstream, writer))
        with suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(*both)
        for each in ends:
            each.close()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        while piece := await reader.read(16384):
            await asyncio.sleep(self.fault.latency_s)
            self.sent += len(piece)
            limit, half = self.fault.reset_after, self.fault.half_open_after
            if limit is not None and self.sent >= limit and not self._resets:
                self._resets += 1
                for each in ends:
                    each.transport.abort()
                return
            if half is not None and self.sent >= half:
                continue  # swallowed
            to.write(piece)
            await to.drain()
        to.close()

    async def _back(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await reader.read(16384):
            await asyncio.sleep(self.fault.latency_s)
            half = self.fault.half_open_after
            if half is not None and self.sent >= half:
                continue
            if self.fault.drip_s is None:
                to.write(piece)
            else:
                for byte in piece:
                    await asyncio.sleep(self.fault.drip_s)
                    to.write(bytes([byte]))
                    await to.drain()
            await to.drain()
        to.close()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await server.serve_forever()


@contextmanager
def line_to(host: str, port: int, fault: Fault | None = None) -> Iterator[Line]:
    """Run a line to a server while the block runs."""
    line = Line((host, port), fault or Fault())

    def run() -> None:
        asyncio.set_event_loop(line._loop)
        with suppress(asyncio.CancelledError):
            line._loop.run_until_complete(line._run())

    thread = Thread(target=run, daemon=True)
    thread.start()
    line._ready.wait()
    try:
        yield line
    finally:

        def stop() -> None:
            for task in asyncio.all_tasks(line._loop):
                task.cancel()

        line._loop.call_soon_threadsafe(stop)
        thread.join(10)
        line._loop.close()
