"""Arrays of an earlier ingest that stand: nothing has happened to what they were made of, nor to them.

To sort the images of a series into its arrays again gives the same parts, as long as the catalog says the
same of every instance and the same code sorts; `series_digest` stands for both, on record with the arrays.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import catalog
import pipelines
from catalog.errors import ArrayError
from catalog.identifiers import digest, digest_of_texts, folder_name
from catalog.records import ArrayRecord
from pipelines.store.places import Where, at
from pipelines.volumes import checked_block


def series_digest(state: str) -> str:
    """Digest over a state of `catalog.arrays.state_of` and the code that sorts; empty where the state is."""
    return state and digest_of_texts((state, _code_digest()))


@cache
def _code_digest() -> str:
    """SHA-256 over every module of `catalog` and `pipelines`: no version that somebody would have to raise.

    It takes 10 ms, once a process.
    """
    found = (
        (path.relative_to(folder.parent).as_posix(), digest(path.read_bytes()))
        for folder in (Path(each.__file__ or "").parent for each in (catalog, pipelines))
        for path in sorted(folder.rglob("*.py"))
    )
    return digest_of_texts(text for pair in found for text in pair)


def are_whole(arrays: Sequence[ArrayRecord], arrays_folder: Where) -> bool:
    """Whether the arrays of a series are as they were written: their metadata, and the size of each shard.

    It waits for whoever writes there, as an ingest does.

    Parameters
    ----------
    arrays_folder
        Where an ingest would put them; those elsewhere are not asked for.
    """
    folder = at(arrays_folder) / folder_name(arrays[0].series_instance_uid)
    if any(at(each.path).parent.address != folder.address for each in arrays):
        return False
    with folder.alone():
        try:
            for each in arrays:
                checked_block(each)
        except ArrayError:
            return False
    return True
