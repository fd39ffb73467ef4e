"""Viewers that move together: a prior beside what is current."""

from typing import TYPE_CHECKING, Any

from ipywidgets import HBox, Layout  # type: ignore[import-untyped]

from catalog.errors import QuestionError
from pipelines.objects.registrations import Registration, Transform, matrix_of
from pipelines.presentation.alongside import alongside
from workbench.widgets.wire import Wire, outside

if TYPE_CHECKING:
    from workbench.widgets.viewer import Viewer

WINDOW = ("window", "curve", "inverted")
"""Traits that viewers with the same window have in common."""
CAMERA = ("camera",)
"""Of those that are zoomed and shifted alike: in parts of a cell, no mm."""


class Link:
    """Two viewers of which one shows the place that the other shows.

    Parameters
    ----------
    transform
        From the LPS mm of the second to those of the first: 4 × 4, or a registration.
    shared
        Traits that are the same in both: of `WINDOW` and `CAMERA`.
    """

    def __init__(
        self,
        first: "Linked",
        second: "Linked",
        transform: Transform | None = None,
        shared: tuple[str, ...] = (),
    ) -> None:
        wires = first.widget, second.widget
        scenes = wires[0].described, wires[1].described
        matrix = None if transform is None else matrix_of(transform, scenes[1], scenes[0])
        self._found = alongside(*scenes, (wires[0].index[-1], wires[1].index[-1]), matrix)
        self._registration = transform if isinstance(transform, Registration) else None
        self._shared = shared
        self._ends = ((*wires, self._found.there), (*wires[::-1], self._found.back))
        self._moving = False
        """Whether a change comes from here: it goes no further."""

    def start(self) -> None:
        """Have the second show what the first shows, and both move together from now on."""
        for (wire, *_), call in zip(self._ends, (self._first_changed, self._second_changed), strict=True):
            wire.observe(call, ["index", *self._shared])
            wire.links = [*wire.links, self]
            wire.linked = self.by
        for name in ("index", *self._shared):
            self._follow(0, name)

    @property
    def by(self) -> str:
        """What says which planes lie at one place: `registration` and its label, or as `alongside` has it."""
        if self._registration is not None:
            return f"registration {self._registration.label}".rstrip()
        return self._found.by

    def release(self) -> None:
        """Let each move by itself again."""
        if self not in self._ends[0][0].links:
            return
        for (wire, *_), call in zip(self._ends, (self._first_changed, self._second_changed), strict=True):
            wire.unobserve(call, ["index", *self._shared])
            wire.links = [each for each in wire.links if each is not self]
            wire.linked = wire.links[-1].by if wire.links else ""

    def joins(self, wire: Wire) -> bool:
        """Whether a viewer is one of both."""
        return any(each is wire for each, *_ in self._ends)

    def __repr__(self) -> str:
        more = "".join(f", the same {name}" for name in self._shared)
        return f"<link of two viewers: by {self.by}{more}>"

    def _first_changed(self, change: Any) -> None:
        self._follow(0, change["name"])

    def _second_changed(self, change: Any) -> None:
        self._follow(1, change["name"])

    def _follow(self, end: int, name: str) -> None:
        if self._moving:
            return
        wire, other, planes = self._ends[end]
        self._moving = True
        try:
            if name == "index":
                other.index = [*other.index[:-1], planes[wire.index[-1]]]
            else:
                setattr(other, name, getattr(wire, name))
        finally:
            self._moving = False


class Linked:
    """The part of a viewer that moves together with others."""

    widget: Wire

    def link(
        self,
        other: "Linked",
        *,
        transform: Transform | None = None,
        window: bool = False,
        camera: bool = False,
    ) -> Link:
        """Have another viewer show the place that this one shows, and the other way round.

        By the frame of reference that both have, or by a transform or registration; else by the distance
        from where both are now, and by the number of planes of images without a place in a patient: `by` of
        the link says which.

        Parameters
        ----------
        other
            A viewer.
        transform
            From the other's LPS mm to those of this one: 4 × 4, or what `bench.registration` gives.
        window
            Whether both have the same window, too.
        camera
            Whether both are zoomed, shifted and turned alike, too.

        Raises
        ------
        catalog.errors.QuestionError
            If both are one, the other shows no images, or the transform cannot be.
        catalog.errors.NotFoundError
            If a registration does not tell where both lie.
        """
        if not isinstance(other, Linked):
            raise QuestionError(
                f"a viewer is linked to another viewer of images, not to {type(other).__name__}"
            )
        if other.widget is self.widget:
            raise QuestionError("a viewer is linked to another one, not to itself")
        made = Link(self, other, transform, WINDOW * window + CAMERA * camera)
        for each in self.widget.links:
            if each.joins(other.widget):
                each.release()
        made.start()
        return made

    def unlink(self) -> None:
        """Let this viewer move by itself again."""
        for each in self.widget.links:
            each.release()


class Pair:
    """Two linked viewers in one cell."""

    def __init__(self, left: "Viewer", right: "Viewer", link: Link) -> None:
        self.left, self.right, self.link = left, right, link
        for each in (left, right):
            each.widget.layout = Layout(flex="1 1 0", min_width="0")
        self._box = HBox([left.widget, right.widget])

    def __repr__(self) -> str:
        return f"<{self.left!r} beside {self.right!r}: linked by {self.link.by}>"

    def _repr_mimebundle_(self, **given: Any) -> Any:
        """Both viewers; for whatever cannot show them a still picture of the first, and words."""
        words = f"{self!r}: run the cell in JupyterLab to look"
        return outside(self._box._repr_mimebundle_(**given), words, self.left.widget.still)
