"""What a person drew as a presentation state: graphics on images, a layer for each tool (PS3.3 A.33.1)."""

from collections.abc import Sequence
from dataclasses import replace

from pydicom.dataset import Dataset

from catalog.errors import EncodeError
from pipelines.encode.algorithm import person_name
from pipelines.encode.drawn_report import frames
from pipelines.encode.presentation_state import AS_IT_CAME, presentation_state
from pipelines.encode.presentation_state import Mark as GraphicOfState
from pipelines.graphics import mark_uid, on_image
from pipelines.marks import Mark, image_of
from pipelines.presentation.appearance import Appearance
from pipelines.presentation.scene import Scene
from pipelines.presentation.windows import linear


def drawn_state(
    marks: Sequence[Mark],
    scene: Scene,
    sources: Sequence[Dataset],
    *,
    author: str,
    appearance: Appearance = AS_IT_CAME,
) -> Dataset:
    """Encode marks as a Grayscale Softcopy Presentation State of the images they lie on.

    The layer of a graphic names the tool, its Tracking UID (0062,0021) the mark; the lines of one mark have
    it in common.

    Parameters
    ----------
    scene
        Of the array they were drawn on.
    sources
        Headers of the images that marks lie on.
    author
        Content Creator's Name (0070,0084).
    appearance
        How the viewer shows the images; its window is exact where the array has fractions.

    Raises
    ------
    EncodeError
        If there is no mark, or one lies on no image or reaches beyond its edge: a report has a place for it.
    """
    if not marks:
        raise EncodeError("there is no mark to put on an image; draw one first")
    graphics = []
    for mark in marks:
        found = on_image(mark, scene)
        if found is None:
            raise EncodeError(
                f"mark {mark.uid}, a {mark.kind}, lies on no image or reaches beyond its edge, where a "
                "presentation state draws nothing; a report (sr) has a place for it"
            )
        graphics += [
            GraphicOfState(
                image_of(scene, mark.index),
                tuple((float(column), float(row)) for column, row in each.points),
                each.kind,
                mark.text.replace("\\", "/") if number == 0 else "",
                mark.kind.upper()[:16],
                mark_uid(mark),
                tuple(frames(mark, scene) or ()),
            )
            for number, each in enumerate(found)
        ]
    if appearance.window is not None and scene.dtype.startswith("float"):
        appearance = replace(appearance, window=linear(*appearance.window))
    return presentation_state(
        sources, graphics, label="ANNOTATIONS", appearance=appearance, creator=person_name(author)
    )
