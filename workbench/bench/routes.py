"""Of a bench: what happens with what was received, and what happened."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import receptions, routings, series_events
from catalog.errors import NotFoundError
from catalog.quarantine import count_quarantined, quarantined
from catalog.receptions import NOBODY, Reception, Sender
from workbench.bench.opened import Opened, now
from workbench.routed import Did, Events, Explained, Quarantine, Receptions, RouteTable

if TYPE_CHECKING:
    from workbench.routing.rules import Received
    from workbench.routing.work import Routed


class Routes(Opened):
    """Rules for what is received, events of series, and who sent what."""

    @property
    def routes(self) -> RouteTable:
        """The rules of the settings, in their order, and how often each did what."""
        return RouteTable(self.settings.routes, routings.counts(self.catalog))

    def route(self, *, again: bool = False) -> "Routed":
        """Ask the rules about what came, and deliver what they say; `workbench receive` does it by itself.

        Parameters
        ----------
        again
            Ask once more about what was refused, after what was missing is there.

        Raises
        ------
        catalog.errors.DeliveryError
            If another process does it just now.
        catalog.errors.SettingsError
            If the function that removes identities cannot be found.
        """
        from workbench.routing.work import route_once

        return route_once(self.settings, self.catalog, again=again)

    def explain_routes(
        self, what: str | Path, *, sent_by: str = "", called: str = "", at: datetime | None = None
    ) -> Explained:
        """Say which rules fit an object and why, without doing anything.

        Parameters
        ----------
        what
            SOP Instance UID of an instance of the catalog, or a DICOM file, which need not be in it.
        sent_by
            Node or AE title that would send it; who sent it last, when left out.
        called, at
            AE title that would be called, and when; as it was, or the bench's own and now.

        Raises
        ------
        catalog.errors.NotFoundError
            If there is no such instance or file.
        catalog.errors.HeaderError
            If the file is no readable DICOM.
        """
        from workbench.routing.rules import explain

        facts = self._facts(what, sent_by, called, at)
        return Explained(explain(self.settings.routes, facts))

    def _facts(self, what: str | Path, sent_by: str, called: str, at: datetime | None) -> "Received":
        from workbench.routing.trial import catalog_of
        from workbench.routing.work import router_of

        with catalog_of(self.catalog, what) as (catalog, uid):
            came = receptions.received(self.catalog, uid)
            last = came[-1] if came else Reception(0, at or now(), NOBODY, uid, "", "", "", "")
            calling = last.sender.calling_ae_title
            node = sent_by if sent_by in self.settings.nodes else ("" if sent_by else last.sender.node)
            if sent_by:
                known = self.settings.nodes.get(sent_by)
                calling = getattr(known, "ae_title", "") if known is not None else sent_by
            to = called or last.sender.called_ae_title or self.settings.ae_title
            asked = replace(last, at=at or last.at, sender=Sender(node, calling, to))
            router = router_of(self.settings.model_copy(update={"deidentifier": ""}), catalog)
            facts = router.facts([asked])[asked.number]
            were = facts.was_at | router.table.were(node, calling)
            return replace(facts, was_at=were)

    def routings(self, rule: str | None = None, *, limit: int = 200) -> Did:
        """What rules did with instances, of one rule or of all; the last first."""
        return Did(routings.list_routings(self.catalog, rule=rule, limit=limit))

    def events(self, series_instance_uid: str | None = None, *, limit: int = 200) -> Events:
        """When series were stable, and by which rule; the last first."""
        found = series_events.list_events(self.catalog, series_instance_uid=series_instance_uid, limit=limit)
        note = (
            f"a series is stable when nothing more of it came for {self.settings.stable_seconds:g} s "
            "(stable_seconds); `workbench receive` and `workbench route` see that, of what was received"
        )
        return Events(found, note="" if found else note)

    def received(self, sop_instance_uid: str) -> Receptions:
        """Every time an instance came: from whom, when, and what became of it; the first first.

        Raises
        ------
        catalog.errors.NotFoundError
            If it never did.
        """
        found = receptions.received(self.catalog, sop_instance_uid)
        if not found:
            raise NotFoundError(f"no instance {sop_instance_uid} was received here")
        return Receptions(found)

    def quarantine(self, *, limit: int = 200) -> Quarantine:
        """What was received and refused: when, from whom, what it was said to be, and why; the last first.

        Raises
        ------
        catalog.errors.QuestionError
            If the limit is no number from 1 on.
        """
        folder = self.settings.received_folder
        found = quarantined(self.catalog, folder, limit=limit)
        more = count_quarantined(self.catalog, folder) - len(found)
        notes = [f"{more:,} more before them: give a higher limit"] if more > 0 else []
        notes += [
            f"to be rid of them: delete the files, then workbench index {folder / 'quarantine'}"
        ] * bool(found)
        return Quarantine(found, note="; ".join(notes))
