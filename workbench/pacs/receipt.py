"""The receipt of a delivery: what happened, when, what the node said, and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from markupsafe import Markup
from pydicom.uid import UID

from catalog.deliveries import State
from catalog.identifiers import short_uid
from catalog.records import Delivery, Stage
from pipelines.validate.verdict import KINDS

_NEXT = {
    State.CONFIRMED: "nothing: the node holds the same object",
    State.FAILED: "remove the cause, then send it again",
    State.WITHDRAWN: "nothing: it was taken back",
}

REFUSED = "refused"
"""State of an object that was not queued, as it is not fit to be sent."""

_ROW = Markup(
    '<tr><td style="text-align:left">{}</td><td>{:%H:%M:%S}</td><td style="text-align:left">{}</td></tr>'
)
_FAILED_ROW = Markup(
    '<tr style="color:#c62828;font-weight:bold">'
    '<td style="text-align:left">{}</td><td>{:%H:%M:%S}</td><td style="text-align:left">{}</td></tr>'
)
_TABLE = Markup(
    '<table><caption style="text-align:left">{} {} to {}: <b>{}</b></caption>{}'
    '<tr><td style="text-align:left">next</td><td></td><td style="text-align:left">{}</td></tr></table>'
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one instance on its way to one node."""

    sop_instance_uid: str
    kind: str
    """`SEG`, `SR` and so on, or the name of the SOP class."""
    node: str
    state: str
    """`confirmed` when the node gave back the same data set, `withdrawn`, `failed` for good, `refused` where
    it was not fit to be queued, else where it waits."""
    stages: tuple[Stage, ...]
    reason: str
    """Why it failed or waits; empty when confirmed."""
    next_step: str
    """What to do next."""

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Write the receipt of a delivery as it stands."""
        state = State(delivery.state)
        waits = f"it is due again at {delivery.next_attempt.astimezone():%d %b %H:%M}, or now: send it again"
        return cls(
            delivery.sop_instance_uid,
            _kind(delivery.sop_class_uid),
            delivery.node,
            delivery.state,
            delivery.stages,
            delivery.reason,
            _NEXT.get(state, waits),
        )

    @classmethod
    def refused(
        cls, sop_instance_uid: str, sop_class_uid: str, node: str, *, reason: str, at: datetime
    ) -> Self:
        """Write the receipt of an object that was not queued."""
        stages = (Stage(REFUSED, at, reason),)
        mend = "mend what is named and make it again; nothing was queued"
        return cls(sop_instance_uid, _kind(sop_class_uid), node, REFUSED, stages, reason, mend)

    @property
    def times(self) -> Mapping[str, datetime]:
        """Name of each stage that was reached to when it last was."""
        return {stage.name: stage.at for stage in self.stages}

    def __str__(self) -> str:
        head = f"{self.kind} {short_uid(self.sop_instance_uid)} to {self.node}: {self.state}"
        stages = [
            f"  {stage.name:<10} {stage.at.astimezone():%H:%M:%S}  {stage.text}".rstrip()
            for stage in self.stages
        ]
        return "\n".join([head, *stages, f"  next       {self.next_step}"])

    def _repr_html_(self) -> str:
        stopped = {"failed", "postponed", REFUSED}
        last = len(self.stages) - 1
        rows = Markup("").join(
            (_FAILED_ROW if number == last and stage.name in stopped else _ROW).format(
                stage.name, stage.at.astimezone(), stage.text
            )
            for number, stage in enumerate(self.stages)
        )
        head = (self.kind, short_uid(self.sop_instance_uid), self.node, self.state)
        return _TABLE.format(*head, rows, self.next_step)


def _kind(sop_class_uid: str) -> str:
    """What people call a SOP class."""
    kind = KINDS.get(sop_class_uid)
    return kind.name if kind else UID(sop_class_uid).name.removesuffix(" Storage")
