"""Series arrive while somebody deletes and restores them, again and again, on both databases.

Whoever wins, the log says what holds: nothing of a deleted series is in an answer, however late it came, and
nothing of a restored one is missing. No file is touched, and what was done is all in the log.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path

from catalog import corrections
from catalog.corrections import Author, deleted_series, list_corrections
from catalog.database import Catalog
from catalog.errors import CorrectionError, NotFoundError
from catalog.index import index_paths
from catalog.query import find_instances, find_series
from pipelines import phantoms

BY = Author("anna", "because", datetime(2026, 11, 24, tzinfo=UTC))
SERIES, PLANES, UPLOADERS, ROUNDS = 2, 12, 3, 2


class Races:
    """Threads at one catalog, each with a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.done = threading.Event()
        self.errors: list[Exception] = []
        self.deletions = 0

    def start(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        def guarded() -> None:
            catalog = Catalog(self.url)
            try:
                work(catalog, *arguments)
            except Exception as error:
                self.errors.append(error)
            finally:
                catalog.close()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def upload(self, catalog: Catalog, own: list[Path]) -> None:
        for number in range(ROUNDS):
            for some in batched(own[:: -1 if number % 2 else 1], 5):
                index_paths(catalog, some)

    def delete(self, catalog: Catalog, uids: list[str]) -> None:
        while not self.done.is_set():
            for uid in uids:
                with suppress(NotFoundError, CorrectionError):  # it has not come yet
                    corrections.delete(catalog, uid, BY)
                    self.deletions += 1
                    corrections.restore(catalog, uid, BY)


def test_25_uploads_and_deletions_at_once_leave_what_the_log_says(catalog_url: str, tmp_path: Path) -> None:
    made = [
        phantoms.write_series(
            tmp_path / "archive" / str(number), planes=PLANES, seed=number, series_number=number + 1, rows=4,
            columns=4, study="one",
        )
        for number in range(SERIES)
    ]  # fmt: skip
    paths = [path for phantom in made for path in phantom.paths]
    content = {path: path.read_bytes() for path in paths}
    uids = [phantom.series_instance_uid for phantom in made]
    catalog, races = Catalog(catalog_url), Races(catalog_url)
    index_paths(catalog, paths[:1])
    # each uploader has some of its own and some that others have, too
    own = [[*paths[at::UPLOADERS], *paths[at::2][:5]] for at in range(UPLOADERS)]
    uploaders = [races.start(races.upload, some) for some in own]
    deleter = races.start(races.delete, uids)
    for each in uploaders:
        each.join()
    races.done.set()
    deleter.join()

    assert races.errors == []
    assert races.deletions
    assert deleted_series(catalog) == set()
    assert [each.instances for each in find_series(catalog)] == [PLANES] * SERIES
    assert len({each.study_instance_uid for each in find_series(catalog)}) == 1
    assert len(list_corrections(catalog)) == 2 * races.deletions
    corrections.delete(catalog, uids[0], BY)
    index_paths(catalog, [tmp_path / "archive"])
    assert [each.series_instance_uid for each in find_series(catalog)] == uids[1:]
    corrections.restore(catalog, uids[0], BY)
    assert {each.path for each in find_instances(catalog)} == set(map(str, paths))
    assert {path: path.read_bytes() for path in paths} == content, "no file is ever touched"
    catalog.close()
