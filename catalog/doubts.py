"""Series that perhaps nobody can read any more: new ones, and those that lost a place.

Triggers of the database note them, whoever writes. A question asks for the places of these alone; all the
others have one. Whom `settle` forgets to take away is looked at once more, and nothing is wrong.
"""

import sqlalchemy as sa

from catalog.database import Catalog
from catalog.models import doubts, files, instances, remotes
from catalog.places import State
from catalog.tombstones import deleted_rows


def settle(catalog: Catalog) -> None:
    """Take those away that have a place, here or elsewhere."""
    here = (
        sa.select(sa.literal(1))
        .select_from(instances)
        .join(files, files.c.instance == instances.c.id)
        .where(instances.c.series == doubts.c.series, files.c.state == State.INDEXED.value)
        .correlate(doubts)
        .exists()
    )
    there = sa.and_(
        sa.select(sa.literal(1)).where(remotes.c.series == doubts.c.series).correlate(doubts).exists(),
        doubts.c.series.not_in(deleted_rows()),
    )
    with catalog.transaction() as connection:
        if connection.dialect.name == "postgresql":  # who doubts meanwhile is waited for, and then seen
            connection.execute(sa.text("LOCK TABLE doubts IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(sa.delete(doubts).where(sa.or_(there, here)))
