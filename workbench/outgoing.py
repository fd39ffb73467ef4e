"""What a person drew, on its way out: encoded in the form that is asked for, as a file that may be sent.

The same content is the same object: its file is named by a digest of what is drawn, so that sending twice is
once.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from catalog.errors import EncodeError, QuestionError
from catalog.identifiers import digest, digest_of_texts
from pipelines.encode.algorithm import Person, software_version
from pipelines.marks import Mark
from pipelines.presentation.appearance import Appearance
from pipelines.presentation.scene import Scene

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from workbench.reports import Receipts


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is to go out."""

    marks: Sequence[Mark]
    scene: Scene
    mask: Callable[[], xr.DataArray]
    """Gives the labels, where the form has them."""
    colours: Mapping[int, tuple[int, int, int]]
    """Of the labels."""
    appearance: Appearance


class Outgoing:
    """Writes what one author drew on one series as DICOM objects.

    Parameters
    ----------
    headers
        Gives the headers of instances of the series by their UIDs.
    send
        Sends files to a node by its name: `bench.send`.
    nodes
        Names of the nodes.
    """

    def __init__(
        self,
        folder: Path,
        author: str,
        *,
        headers: Callable[[Collection[str]], "list[Dataset]"],
        send: Callable[[Sequence[Path], str], "Receipts"],
        nodes: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self.author, self.nodes, self.send = author, tuple(nodes), send
        self._folder, self._headers, self._now = folder, headers, now

    def write(self, form: str, drawn: Drawn) -> Path:
        """Write an object, unless the same was written before; return its file.

        Parameters
        ----------
        form
            `sr`, `gsps`, `rtstruct` or `seg`.

        Raises
        ------
        catalog.errors.QuestionError
            If there is no such form.
        catalog.errors.EncodeError
            If nothing is drawn, or it cannot be encoded in this form.
        """
        from pipelines.encode.part10 import write_object

        if form not in FORMS:
            raise QuestionError(f"there is no form {form!r}; there are {', '.join(FORMS)}")
        path = self._folder / f"{_name(form, self.author, drawn)}.dcm"
        if not path.is_file():
            write_object(FORMS[form](self, drawn), path)
        return path

    def _report(self, drawn: Drawn) -> "Dataset":
        from pipelines.encode.drawn_report import drawn_report

        return drawn_report(drawn.marks, drawn.scene, self._beneath(drawn), author=self.author)

    def _state(self, drawn: Drawn) -> "Dataset":
        from pipelines.encode.drawn_state import drawn_state

        return drawn_state(
            drawn.marks, drawn.scene, self._beneath(drawn), author=self.author, appearance=drawn.appearance
        )

    def _structures(self, drawn: Drawn) -> "Dataset":
        from pipelines.encode.drawn_structures import drawn_structures

        return drawn_structures(
            drawn.marks, drawn.scene, self._beneath(drawn), author=self.author, now=self._now()
        )

    def _segmentation(self, drawn: Drawn) -> "Dataset":
        from pipelines.encode.segmentation import segmentation

        mask = drawn.mask()
        if mask.ndim != 3:
            raise EncodeError(
                f"a segmentation is of one volume (z, y, x), and the mask has {mask.dims}; encode "
                "viewer.mask at one index of the others by pipelines.encode.segmentation"
            )
        headers = self._headers(set(drawn.scene.sop_instance_uids))
        return segmentation(mask, headers, algorithm=Person(self.author), colours=drawn.colours)

    def _beneath(self, drawn: Drawn) -> "list[Dataset]":
        """Headers of the images that marks lie on, or of the first where they lie on none."""
        uids = {each.sop_instance_uid for each in drawn.marks if each.sop_instance_uid}
        return self._headers(uids or set(drawn.scene.sop_instance_uids[:1]))


FORMS: Mapping[str, Callable[[Outgoing, Drawn], "Dataset"]] = {
    "sr": Outgoing._report,
    "gsps": Outgoing._state,
    "rtstruct": Outgoing._structures,
    "seg": Outgoing._segmentation,
}
"""What people call an object, and what makes it."""


def _name(form: str, author: str, drawn: Drawn) -> str:
    """Digest of what is drawn, as far as the form has it."""
    words = [form, author, software_version(), drawn.scene.series_instance_uid]
    if form == "seg":
        mask = drawn.mask()
        words += [str(mask.shape), str(mask.dtype), str(mask.attrs.get("labels")), str(dict(drawn.colours))]
        words.append(digest(np.ascontiguousarray(mask.data).reshape(-1).view(np.uint8).data))
    else:
        words += [repr(each.as_json()) for each in drawn.marks]
    if form == "gsps":
        words.append(str(drawn.appearance))
    return digest_of_texts(words)[:32]
