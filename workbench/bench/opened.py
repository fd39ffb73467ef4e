"""A bench that is open: its settings, its catalog, its Dask client, the nodes it knows."""

import atexit
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from catalog.database import Catalog
from catalog.durable import make_folder
from catalog.errors import CatalogError, NotFoundError, SettingsError, words_of
from catalog.fetch import Local
from catalog.home import SETTINGS_FILE
from catalog.query import count_series
from catalog.records import InstanceRecord
from workbench.cluster import local_cluster
from workbench.settings import Settings
from workbench.thumbnails import fetched_of

if TYPE_CHECKING:
    from distributed import Client

    from workbench.pacs.node import ListenAddress, Node


class Nodes(dict[str, "Node"]):
    """Nodes by name; one that there is not is refused in words.

    Parameters
    ----------
    named
        Gives the node of a name, or raises.
    """

    def __init__(self, names: Iterable[str], named: "Callable[[str], Node]") -> None:
        super().__init__({each: named(each) for each in names})
        self._named = named

    def __missing__(self, name: str) -> "Node":
        return self._named(name)


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def _refuse_empty(settings: Settings) -> None:
    """A file without a byte would be taken for a new catalog: not where a bench has worked before."""
    file, arrays = settings.home / "catalog.sqlite", settings.arrays_folder
    if settings.catalog is not None or not file.is_file() or file.stat().st_size:
        return
    if arrays.is_dir() and any(arrays.iterdir()):
        raise CatalogError(
            f"{file} is empty, although this bench has arrays; put back a copy, or remove it and index again"
        )


class Opened:
    """What every part of a bench stands on; it ends with `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        try:
            make_folder(settings.home)
        except OSError as error:
            words = words_of(error)
            raise SettingsError(f"{settings.home} cannot be the folder of a bench: {words}") from None
        _refuse_empty(settings)
        self.catalog = Catalog(settings.catalog_url)
        self._fetched = fetched_of(self.catalog, settings)
        self._in_use = ExitStack()
        self._client: Client | None = None
        self._cluster: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<bench {self.settings.home}: {count_series(self.catalog):,} series>"

    def close(self) -> None:
        """Give up the Dask cluster, the copies of what lies elsewhere, and the catalog's connections."""
        self._in_use.close()
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]  # distributed has few types
        if self._cluster is not None:
            self._cluster.close()
        self._client = self._cluster = None
        self.catalog.close()

    @property
    def client(self) -> "Client":
        """Dask client of this bench: of the scheduler in its settings, else of a cluster on this machine."""
        if self._client is None:
            from distributed import Client

            if self.settings.scheduler:
                self._client = Client(self.settings.scheduler, set_as_default=False)  # type: ignore[no-untyped-call]
            else:
                self._cluster = local_cluster(self.settings.cores)
                atexit.register(self.close)  # a script or notebook that just ends leaves no process behind
                self._client = Client(self._cluster, set_as_default=False)  # type: ignore[no-untyped-call]
        return self._client

    @property
    def nodes(self) -> "Nodes":
        """Nodes of the settings by name: `bench.nodes["PACS"].echo()`."""
        return Nodes(self.settings.nodes, self.node)

    def node(self, name: str) -> "Node":
        """Node of the settings by its name.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is none of that name.
        """
        known = self.settings.nodes
        if not isinstance(name, str) or name not in known:
            there = ", ".join(sorted(known)) or "none yet"
            file, table = self.settings.home / SETTINGS_FILE, name if isinstance(name, str) else "NAME"
            raise NotFoundError(
                f"no node {name!r:.80}; {file} has {there}. Add a table [nodes.{table}] to it"
            )
        return known[name].called(name, self.settings.ae_title, self.settings.nodes_folder)

    @property
    def _listen(self) -> "ListenAddress":
        """Where this bench listens for what nodes send by themselves."""
        from workbench.pacs.node import ListenAddress

        return ListenAddress(
            self.settings.listen_host, self.settings.listen_port, self.catalog, self.settings.received_folder
        )

    def _node_meant(self, node: "str | Node") -> "Node":
        """The node itself, or that of the settings of its name; raises as `node`."""
        if isinstance(node, str) or not hasattr(node, "carrying"):
            return self.node(node)  # type: ignore[arg-type]  # it says that there is none such
        return node

    def _kept(self, instances: Sequence[InstanceRecord]) -> Local:
        """Have local files of what is read lazily, as long as the bench is open."""
        return self._in_use.enter_context(self._fetched.local(instances))
