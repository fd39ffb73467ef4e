"""The marks of one viewer and the catalog: each change is saved as it comes, with whose it is."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import RLock

from catalog.annotations import Annotation, Place, check, find_annotations, held, save
from catalog.database import Catalog
from catalog.errors import QuestionError
from catalog.identifiers import digest_of_texts, new_uid
from catalog.strokes import Drawn, Held, same

_IMAGE = "sop_instance_uid"
"""What is saved with a mark, and the browser does not need."""


class Drawings:
    """What its author draws on one array is saved; what others drew there is shown, and stays as it is.

    Several threads may use one: messages of the browser come beside cells that run.

    Parameters
    ----------
    image_of
        Gives the SOP Instance UID of the image a plane is of.
    """

    def __init__(
        self,
        catalog: Catalog,
        place: Place,
        author: str,
        *,
        image_of: Callable[[Sequence[int]], str],
        now: Callable[[], datetime],
    ) -> None:
        self.author, self.place = author, place
        self._catalog, self._image_of, self._now = catalog, image_of, now
        self._writer = new_uid()
        self._mine: dict[str, Held] = {}
        self._others: dict[str, Annotation] = {}
        self._put_back: set[str] = set()
        self.turn = RLock()
        """Held from reading what is drawn to showing what is saved: no change overtakes another."""
        self.look()

    def look(self) -> None:
        """Look up what is saved, by others and by other kernels of the author."""
        with self.turn:
            self._mine = held(self._catalog, self.place, self.author)
            found = find_annotations(
                self._catalog, series=[self.place.series_instance_uid], part=self.place.part
            )
            self._others = {}
            for each in found:
                if each.author != self.author:
                    self._others[self._shown_uid(each)] = each
            self._put_back.clear()

    @property
    def shown(self) -> list[Drawn]:
        """Every mark there is, those of the author first."""
        mine = [_shown(each.drawn) for each in self._mine.values() if each.drawn is not None]
        return mine + [self._of_another(uid) for uid in self._others]

    @property
    def whose(self) -> dict[str, str]:
        """UID of each mark of somebody else to the author's name."""
        return {uid: each.author for uid, each in self._others.items()}

    def record(self, uid: str) -> Held | Annotation | None:
        """Return what is saved of a mark that is shown; `None` where it is not saved."""
        return self._others.get(uid) or self._mine.get(uid)

    def keep(self, drawn: Sequence[Drawn]) -> tuple[list[Drawn], str]:
        """Save what is other than before; return what is to be shown now, and why a mark was not saved.

        A mark of somebody else that was changed or removed is put back.

        Raises
        ------
        catalog.errors.CatalogError
            If the catalog cannot be written now; the next call saves what this one could not.
        """
        with self.turn:
            mine = {str(each["uid"]): each for each in drawn if str(each["uid"]) not in self._others}
            wanted, refused = self._checked(mine)
            self._mine = save(
                self._catalog,
                self.place,
                self.author,
                self._mine,
                wanted,
                writer=self._writer,
                now=self._now(),
            )
            return self._merged(drawn, refused), "; ".join(refused.values())

    def _checked(self, mine: Mapping[str, Drawn]) -> tuple[list[Drawn], dict[str, str]]:
        """Marks to be saved; in the place of one that cannot be, what is saved of it stays."""
        wanted: list[Drawn] = []
        refused: dict[str, str] = {}
        for uid, each in mine.items():
            try:
                full = {**each, _IMAGE: self._image_of([int(at) for at in each.get("index", ())])}
                check(uid, full)
                wanted.append(full)
            except (QuestionError, TypeError, ValueError) as error:
                refused[uid] = str(error) if isinstance(error, QuestionError) else f"mark {uid} is none"
                before = self._mine.get(uid)
                if before is not None and before.drawn is not None:
                    wanted.append(before.drawn)
        return wanted, refused

    def _merged(self, drawn: Sequence[Drawn], refused: Mapping[str, str]) -> list[Drawn]:
        """What is shown: as it is drawn where that is what is saved, else as it is saved."""
        merged: list[Drawn] = []
        for each in drawn:
            uid = str(each["uid"])
            if uid in self._others:
                merged.append(self._other_again(uid, each))
            elif uid in refused:
                merged.append(each)
            elif (saved := self._mine.get(uid)) is not None and saved.drawn is not None:
                merged.append(each if same(_shown(saved.drawn), each) else _shown(saved.drawn))
        there = {str(each["uid"]) for each in merged}
        return merged + [each for each in self.shown if each["uid"] not in there]

    def _other_again(self, uid: str, drawn: Drawn) -> Drawn:
        """Put a mark of somebody else back once; a front end that alters what it draws shall not go on."""
        if same(saved := self._of_another(uid), drawn):
            self._put_back.discard(uid)
            return drawn
        if uid in self._put_back:
            return drawn
        self._put_back.add(uid)
        return saved

    def _of_another(self, uid: str) -> Drawn:
        return {**_shown(self._others[uid].drawn or {}), "uid": uid}

    def _shown_uid(self, annotation: Annotation) -> str:
        """UID under which a mark of somebody else is shown: its own, unless another is shown under that."""
        if annotation.uid not in self._mine and annotation.uid not in self._others:
            return annotation.uid
        return f"2.25.{int(digest_of_texts([annotation.uid, annotation.author])[:30], 16)}"


def _shown(drawn: Drawn) -> Drawn:
    return {name: value for name, value in drawn.items() if name != _IMAGE}
