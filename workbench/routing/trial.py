"""Has rules asked about an object that need not be in the catalog: in a catalog of that file alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog.database import Catalog
from catalog.errors import HeaderError, NotFoundError
from catalog.headers import read_header
from catalog.identifiers import is_uid
from catalog.index import index_paths
from catalog.query import find_instances
from catalog.records import Unreadable


@contextmanager
def catalog_of(catalog: Catalog, what: str | Path) -> Iterator[tuple[Catalog, str]]:
    """Give a catalog that can be asked about an object, and its SOP Instance UID, while the block runs.

    Raises
    ------
    catalog.errors.NotFoundError
        If there is no such instance, nor such a file.
    catalog.errors.HeaderError
        If the file is no readable DICOM.
    """
    if isinstance(what, str) and is_uid(what):
        if not find_instances(catalog, sop_instance_uid=what):
            raise NotFoundError(f"no instance {what} in the catalog")
        yield catalog, what
        return
    path = Path(what).expanduser()
    if not path.is_file():
        raise NotFoundError(f"{path} is neither a file nor the UID of an instance")
    header = read_header(path)
    if isinstance(header, Unreadable):
        raise HeaderError(f"{path}: {header.reason}")
    with TemporaryDirectory() as folder:
        alone = Catalog(Path(folder) / "catalog.sqlite")
        try:
            index_paths(alone, [path])
            yield alone, str(header.values["sop_instance_uid"])
        finally:
            alone.close()
