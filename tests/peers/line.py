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
    reset_back_after: int | None = None
    """Bytes from the server, of all connections, after which the connection is reset; once."""
    half_open_after: int | None = None
    """Bytes to the server after which nothing passes any more, either way, and nobody is told."""
    drip_s: float | None = None
    """The server's bytes come one by one, with this pause before each."""
    drip_to_s: float | None = None
    """The client's bytes come so."""
    twice: bool = False
    """Everything a client sends arrives on a second connection, too, whose answers nobody hears."""
    bytes_per_s: float | None = None
    """What all connections together may carry, each way; `latency_s` is then the way of each byte, and holds
    up none behind it."""
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
    answered: int = 0
    """Bytes that came from the server."""
    _resets: int = 0
    _free: dict[str, float] = field(default_factory=dict)
    """When each way has passed all that it was given."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _ready: Event = field(default_factory=Event)

    def mend(self) -> None:
        """From now on everything passes."""
        self.fault = Fault()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.fault.black_hole:
            with suppress(ConnectionError, asyncio.CancelledError):
                await _swallow(reader)
            writer.close()
            return
        try:
            upstream, downstream = await asyncio.open_connection(*self.to)
        except OSError:
            writer.transport.abort()
            return
        ends = [writer, downstream]
        if self.fault.bytes_per_s is not None:
            ways = [self._carry(reader, downstream, "up"), self._carry(upstream, writer, "down")]
        else:
            ways = [self._forward(reader, downstream, ends), self._back(upstream, writer, ends)]
        if self.fault.twice:
            unheard, again = await asyncio.open_connection(*self.to)
            ends.append(again)
            ways.append(_swallow(unheard))
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.gather(*ways)
        finally:
            for each in ends:
                each.close()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        ends: list[asyncio.StreamWriter],
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
            for each in [to, *ends[2:]]:
                await self._pass_on(piece, each, self.fault.drip_to_s)
        for each in [to, *ends[2:]]:
            each.close()

    async def _back(
        self,
        reader: asyncio.StreamReader,
        to: asyncio.StreamWriter,
        ends: list[asyncio.StreamWriter],
    ) -> None:
        while piece := await reader.read(16384):
            await asyncio.sleep(self.fault.latency_s)
            self.answered += len(piece)
            limit = self.fault.reset_back_after
            if limit is not None and self.answered >= limit and not self._resets:
                self._resets += 1
                for each in ends:
                    each.transport.abort()
                return
            half = self.fault.half_open_after
            if half is not None and self.sent >= half:
                continue
            await self._pass_on(piece, to, self.fault.drip_s)
        to.close()

    async def _carry(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, way: str) -> None:
        """Pass everything on as late as a line that is shared by all would."""
        assert self.fault.bytes_per_s is not None
        clock = self._loop.time
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def arrive() -> None:
            while (found := await under_way.get())[1]:
                await asyncio.sleep(max(0.0, found[0] - clock()))
                to.write(found[1])
                await to.drain()
            to.close()

        arriving = asyncio.create_task(arrive())
        try:
            while piece := await reader.read(8192):
                if way == "up":
                    self.sent += len(piece)
                else:
                    self.answered += len(piece)
                free = max(clock(), self._free.get(way, 0.0)) + len(piece) / self.fault.bytes_per_s
                self._free[way] = free
                await under_way.put((free + self.fault.latency_s, piece))
            await under_way.put((clock() + self.fault.latency_s, b""))
            await arriving
        finally:
            arriving.cancel()

    @staticmethod
    async def _pass_on(piece: bytes, to: asyncio.StreamWriter, drip_s: float | None) -> None:
        if drip_s is None:
            to.write(piece)
        else:
            for byte in piece:
                await asyncio.sleep(drip_s)
                to.write(bytes([byte]))
                await to.drain()
        await to.drain()

    async def _run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await server.serve_forever()


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _all_ended() -> None:
    """Wait for the connections that were cut; what they closed says so in the next turn of the loop."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.sleep(0)


@contextmanager
def line_to(host: str, port: int, fault: Fault | None = None) -> Iterator[Line]:
    """Run a line to a server while the block runs."""
    line = Line((host, port), fault or Fault())

    def run() -> None:
        asyncio.set_event_loop(line._loop)
        with suppress(asyncio.CancelledError):
            line._loop.run_until_complete(line._run())
        line._loop.run_until_complete(_all_ended())

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
