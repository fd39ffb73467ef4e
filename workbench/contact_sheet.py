"""A page of thumbnails: one picture, HTML without script or links, or a table of what is on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from markupsafe import Markup

from catalog.database import Catalog
from catalog.durable import write
from catalog.errors import QuestionError
from catalog.records import Question, SeriesRecord
from workbench.progress import bar
from workbench.settings import Settings
from workbench.tables import Table, plain, text_table, unit_of
from workbench.thumbnails import Kept, fetched_of, thumbnails_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PAGE = 200
"""How many series a page shows at most."""
SIZES = range(32, 513)
"""Rows and columns that a picture may take."""
MOST_COLUMNS = 50

_GAP = 8
_LARGE = 192
"""From this size on, letters are twice as large."""
_BACKGROUND, _CAPTION = 34, (225, 225, 225)
_CELL = Markup(
    '<figure style="margin:0;width:{size}px"><img alt="{alt}" width="{size}" height="{size}" '
    'src="data:image/png;base64,{data}"><figcaption style="font-size:11px;overflow-wrap:anywhere">'
    "{first}<br>{second}</figcaption></figure>"
)
_SHEET = Markup(
    '<div style="display:grid;grid-template-columns:repeat({columns},{size}px);gap:8px">{cells}</div>'
    '<div style="opacity:0.7;margin-top:4px">{footer}</div>'
)
_DOCUMENT = Markup(
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Contact sheet</title></head>'
    '<body style="font-family:sans-serif">{}</body></html>\n'
)


class FoundSeries(Table[SeriesRecord]):
    """Series that were found, which can be looked at: `bench.series(...).contact_sheet()`."""

    def __init__(
        self,
        records: Sequence[SeriesRecord],
        columns: Mapping[str, str],
        *,
        catalog: Catalog,
        settings: Settings,
        question: Question | None = None,
        note: str = "",
    ) -> None:
        super().__init__(records, columns, noun="series", note=note)
        self.question = question
        """What they were found by; `None` of a part of them."""
        self._catalog, self._settings = catalog, settings

    @overload
    def __getitem__(self, index: int) -> SeriesRecord: ...
    @overload
    def __getitem__(self, index: slice) -> "FoundSeries": ...
    def __getitem__(self, index: int | slice) -> "SeriesRecord | FoundSeries":
        if isinstance(index, slice):
            found = self.records[index]
            return FoundSeries(found, self.columns, catalog=self._catalog, settings=self._settings)
        return self.records[index]

    def contact_sheet(
        self, *, columns: int = 6, size: int = 128, page: int = 1, quiet: bool = False
    ) -> "ContactSheet":
        """Draw a page of pictures, one a series; they are made once and kept in the bench's home.

        Nothing need be ingested: the picture is one frame of one file, else one plane of the array.

        Parameters
        ----------
        columns
            Pictures in a row.
        size
            Pixels that a picture takes in width and height.
        page
            From 1; a page holds 200 series.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no such page, or a number is out of range.
        OSError
            If the home cannot be written.
        """
        return draw_sheet(
            self._catalog, self._settings, self.records, columns=columns, size=size, page=page, quiet=quiet
        )


def draw_sheet(
    catalog: Catalog,
    settings: Settings,
    series: Sequence[SeriesRecord],
    *,
    columns: int = 6,
    size: int = 128,
    page: int = 1,
    quiet: bool = False,
) -> "ContactSheet":
    """Draw a page of pictures of series; see `FoundSeries.contact_sheet`."""
    pages = max(1, -(-len(series) // PAGE))
    _check("columns", columns, range(1, MOST_COLUMNS + 1))
    _check("size", size, SIZES)
    _check("page", page, range(1, pages + 1))
    shown = series[(page - 1) * PAGE : page * PAGE]
    with bar("thumbnails", "series", quiet=quiet) as progress:
        kept = thumbnails_of(
            catalog,
            shown,
            settings.thumbnails_folder,
            threads=settings.cores,
            fetched=fetched_of(catalog, settings),
            progress=progress,
        )
    of_all = f"page {page} of {pages}, {len(series):,} series in all" if pages > 1 else ""
    pictures = [kept[each.series_instance_uid] for each in shown]
    return ContactSheet(shown, pictures, columns=columns, size=size, note=of_all)


def _check(name: str, value: object, allowed: range) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise QuestionError(f"{name} is a whole number from {allowed[0]} to {allowed[-1]}, not {value!r:.40}")


class ContactSheet:
    """One page of thumbnails; a notebook shows it, `save` writes it, `str` tells what is on it."""

    def __init__(
        self,
        series: Sequence[SeriesRecord],
        thumbnails: Sequence[Kept],
        *,
        columns: int,
        size: int,
        note: str = "",
    ) -> None:
        self.series, self.columns, self.size = tuple(series), columns, size
        self._thumbnails, self._note = tuple(thumbnails), note

    def __len__(self) -> int:
        return len(self.series)

    @property
    def reasons(self) -> dict[str, str]:
        """Why there is no picture, by Series Instance UID, for those that have none."""
        return {
            each.series_instance_uid: kept.reason
            for each, kept in zip(self.series, self._thumbnails, strict=True)
            if kept.reason
        }

    def line(self) -> str:
        """What is on the page, in a line."""
        without = f"{len(self.reasons):,} without a picture" if self.reasons else ""
        parts = (f"{len(self):,} {unit_of(len(self), 'series')}", without, self._note)
        return " · ".join(part for part in parts if part)

    def __str__(self) -> str:
        rows = [
            [number, each.modality, each.series_description, each.frames or each.instances, kept.reason]
            for number, (each, kept) in enumerate(zip(self.series, self._thumbnails, strict=True), start=1)
        ]
        headings = ["no.", "modality", "series", "images", "no picture"]
        return text_table(headings, rows, footer=self.line()) if rows else self.line()

    def __repr__(self) -> str:
        return f"<contact sheet: {self.line()}>"

    def as_json(self) -> dict[str, Any]:
        """What is on the page, for machines."""
        uids = [each.series_instance_uid for each in self.series]
        return {"series": uids, "columns": self.columns, "reasons": self.reasons}

    def save(self, path: str | Path) -> Path:
        """Write the page as a picture (`.png`) or as HTML (`.html`), which needs no other file.

        Raises
        ------
        catalog.errors.QuestionError
            If the name ends in something else.
        OSError
            If it cannot be written.
        """
        target = Path(path).expanduser().absolute()
        suffix = target.suffix.lower()
        if suffix == ".png":
            write(target, self._repr_png_())
        elif suffix in (".html", ".htm"):
            write(target, _DOCUMENT.format(Markup(self._repr_html_())).encode())
        else:
            raise QuestionError(f"a contact sheet is written as .png or .html, not {suffix or 'without one'}")
        return target

    def _repr_png_(self) -> bytes:
        import numpy as np

        from pipelines.presentation.display import to_png
        from pipelines.presentation.lettering import ADVANCE, LINE
        from pipelines.presentation.lettering import write as letter

        scale = 1 if self.size < _LARGE else 2
        across = max(1, min(self.columns, len(self)))
        height, width = self.size + 2 * (LINE + 1) * scale + _GAP, self.size + _GAP
        shape = (-(-len(self) // across) * height + _GAP, across * width + _GAP, 3)
        sheet = np.full(shape if len(self) else (LINE, ADVANCE, 3), _BACKGROUND, np.uint8)
        most = self.size // (ADVANCE * scale)
        for number, (each, kept) in enumerate(zip(self.series, self._thumbnails, strict=True)):
            top, left = _GAP + number // across * height, _GAP + number % across * width
            sheet[top : top + self.size, left : left + self.size] = _picture(kept, self.size)
            for line, text in enumerate(_captions(each)):
                at = top + self.size + 2 + line * (LINE + 1) * scale
                letter(sheet, _cut(text, most), top=at, left=left, scale=scale, colour=_CAPTION)
        return to_png(sheet)

    def _repr_html_(self) -> str:
        from base64 import b64encode

        from pipelines.presentation.display import to_png

        cells = []
        for each, kept in zip(self.series, self._thumbnails, strict=True):
            first, second = _captions(each)
            data = b64encode(to_png(_picture(kept, self.size))).decode()
            alt = _alternative(each, kept)
            cells.append(_CELL.format(size=self.size, alt=alt, data=data, first=first, second=second))
        columns = max(1, min(self.columns, len(self)))
        return str(
            _SHEET.format(columns=columns, size=self.size, cells=Markup("").join(cells), footer=self.line())
        )


def _picture(kept: Kept, size: int) -> "npt.NDArray[np.uint8]":
    """The thumbnail in colour and in the size that is wanted."""
    import imagecodecs
    import numpy as np

    from pipelines.presentation.display import resized

    picture = np.asarray(imagecodecs.png_decode(kept.png))
    small = resized(picture, size, size)
    return small if small.ndim == 3 else np.repeat(small[..., np.newaxis], 3, axis=-1)


def _captions(series: SeriesRecord) -> tuple[str, str]:
    return f"{series.modality or 'no modality'} · {_count(series)}", plain(series.series_description or "")


def _count(series: SeriesRecord) -> str:
    count = series.frames or series.instances
    noun = "image" if series.frames else "object"
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _alternative(series: SeriesRecord, kept: Kept) -> str:
    """What a picture shows, for those who do not see it."""
    said = [plain(series.modality or ""), plain(series.series_description or ""), _count(series)]
    without = f"no picture: {plain(kept.reason)}" if kept.reason else ""
    return ", ".join(part for part in (*said, without) if part)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
