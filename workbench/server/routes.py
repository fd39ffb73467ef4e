"""Routes of the Jupyter server below `workbench/`: only for whoever is logged in, and only by key."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from catalog.errors import NotFoundError, QuestionError, WorkbenchError
from workbench.server.coarse import step_of
from workbench.server.packing import ITEMS, packed
from workbench.server.shelf import hand_in, take

if TYPE_CHECKING:
    from workbench.server.planes import Planes
    from workbench.server.traces import Traces

ROOT = "workbench"
_THREADS = 4
"""Planes that are read at the same time; reading waits for disk and decompression, not for Python."""
_STATUS: tuple[tuple[type[WorkbenchError], int], ...] = (
    (NotFoundError, 404),
    (QuestionError, 404),
    (WorkbenchError, 500),
)
LARGEST_PICTURE = 64 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_KEEP = "private, max-age=604800, immutable"
"""An array never changes under its key."""


@cache
def _planes() -> "Planes":
    """Make what reads arrays with the first request: xarray takes a while to load, and may not be wanted."""
    from workbench.server.planes import Planes

    return Planes(take)


@cache
def _traces() -> "Traces":
    from workbench.server.traces import Traces

    return Traces(take)


def _plane(key: str, numbers: list[int], coarse: str) -> bytes:
    """Values of a plane, or of one of `coarse` rows and columns, in the type the scene of the array names."""
    return _planes().plane(key, numbers, step_of(coarse))


def _tile(key: str, numbers: list[int], coarse: str) -> bytes:
    """Level and tile of the curves of a waveform: the least and the greatest values of its columns."""
    if coarse:
        raise QuestionError("curves have levels, no coarse pictures")
    level, tile = numbers
    return _traces().tile(key, level, tile)


class PieceHandler(APIHandler):
    """Gives a piece of an array as bytes."""

    def initialize(self, pool: ThreadPoolExecutor, piece: Callable[[str, list[int], str], bytes]) -> None:
        """Take what all requests share, and what reads a piece by the key of its array and its numbers.

        It is told how coarse it is wanted, too, as the question has it.
        """
        self._pool, self._piece = pool, piece
        self._gone = False

    def on_connection_close(self) -> None:
        """Remember that nobody waits for the answer any more: a viewer scrolled on."""
        self._gone = True
        super().on_connection_close()

    @web.authenticated
    async def get(self, key: str, index: str) -> None:
        """Answer with the piece; `packed`, with the bytes of a value, wants it packed for a slow line.

        `coarse`, with one of `workbench.server.coarse.STEPS`, wants so much less of a plane.
        """
        numbers = [int(each) for each in index.split(".")]
        coarse = self.get_query_argument("coarse", "")
        said = self.get_query_argument("packed", "")
        itemsize = int(said) if said in map(str, ITEMS) else None
        try:
            piece = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._read, key, numbers, coarse, itemsize
            )
        except WorkbenchError as error:
            status = next(code for kind, code in _STATUS if isinstance(error, kind))
            self.set_status(status)
            await self.finish({"message": str(error) if status == 404 else type(error).__name__})
            return
        if piece is None:
            return
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Cache-Control", _KEEP)
        self.set_header("X-Content-Type-Options", "nosniff")
        if itemsize is not None:
            self.set_header("Content-Encoding", "gzip")
        await self.finish(piece)

    def _read(self, key: str, index: list[int], coarse: str, itemsize: int | None) -> bytes | None:
        if self._gone:
            return None
        piece = self._piece(key, index, coarse)
        return piece if itemsize is None else packed(piece, itemsize)


class PictureHandler(APIHandler):
    """Takes a picture that a kernel waits for."""

    @web.authenticated
    async def put(self, key: str) -> None:
        """Hand it to the kernel."""
        picture = self.request.body
        if len(picture) > LARGEST_PICTURE or not picture.startswith(_PNG):
            self.set_status(400)
            await self.finish({"message": "a picture is a PNG of at most 64 MiB"})
            return
        try:
            hand_in(key, picture)
        except NotFoundError as error:
            self.set_status(404)
            await self.finish({"message": str(error)})
            return
        self.set_status(204)
        await self.finish()


def routes(base_url: str) -> list[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Handlers for a server whose pages begin with `base_url`, such as `/user/x/`."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="planes")
    planes = url_path_join(base_url, ROOT, r"arrays/([0-9a-f]{32})/planes/(\d{1,9}(?:\.\d{1,9}){0,7})")
    tiles = url_path_join(base_url, ROOT, r"arrays/([0-9a-f]{32})/traces/(\d{1,2}\.\d{1,9})")
    pictures = url_path_join(base_url, ROOT, r"pictures/([0-9a-f]{32})")
    return [
        (planes, PieceHandler, {"pool": pool, "piece": _plane}),
        (tiles, PieceHandler, {"pool": pool, "piece": _tile}),
        (pictures, PictureHandler, {}),
    ]
