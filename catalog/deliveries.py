"""What becomes of one instance on its way to one node: a pure state machine, and the standard's words.

    QUEUED ─valid─▶ VALIDATED ─send─▶ SENDING ─success─▶ STORED ─commit─▶ COMMITTED ─same─▶ CONFIRMED
      ▲                                  │                │  │               │                  ▲
      ├───────────── unavailable ────────┘                │  └─ same, no commitment given ─────┘
      └───────────── missing at the node ─────────────────┴──────────────────┘

Anything for good ends in FAILED, and what a person takes back in WITHDRAWN. QUEUED, STORED and COMMITTED
wait for the next attempt. VALIDATED and
SENDING last only as long as a sender works; a claim after its lease ran out puts them back to QUEUED, and the
same bytes go out again. Nothing here does I/O or reads a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum


class Origin(StrEnum):
    """Why an object is in the outbox."""

    SENT = ""
    """A person, or a run, sent it."""
    RECEIVED = "received"
    """It was received, and goes on with the same bytes; nobody judges it."""
    DEIDENTIFIED = "deidentified"
    """It was made of a received one, for a node that must not get that."""


class State(Enum):
    """Where a delivery stands."""

    QUEUED = "queued"
    VALIDATED = "validated"
    """The file holds the bytes that were queued and is fit to be sent."""
    SENDING = "sending"
    """The bytes may be on the wire; whoever finds this after a crash does not know the answer."""
    STORED = "stored"
    """The node answered with success or a warning: C-STORE (PS3.4 B.2.3), STOW-RS (PS3.18 10.5.3)."""
    COMMITTED = "committed"
    """The node took responsibility for the instance (PS3.4 J.3.3)."""
    CONFIRMED = "confirmed"
    """The node gave back the same data set."""
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    """A person took it back; it never goes out again."""


class Event(Enum):
    """What may happen to a delivery."""

    CLAIM = "a sender takes it up"
    VALID = "the file is fit to be sent"
    INVALID = "the file is not fit to be sent, or no longer what was queued"
    SEND = "the bytes go out"
    SUCCESS = "the node answered with success"
    WARNING = "the node answered with a warning"
    REFUSED = "refused for good"
    UNAVAILABLE = "no answer, or one that may be better later"
    UNSENT = "the association ended before its turn came"
    ASK = "storage commitment was requested"
    COMMIT = "the node committed to storage"
    COMMIT_MISSING = "the node does not hold the instance it should commit to"
    COMMIT_FAILED = "the node will not commit"
    COMMIT_POSTPONED = "the node has not committed yet"
    SAME = "what the node gave back is the same data set"
    DIFFERENT = "what the node gave back is another data set"
    MISSING = "the node does not give the instance back"
    EXHAUSTED = "tried as often as is sensible"
    REQUEUE = "a person asked to try again"
    HURRY = "a person asked to try now"
    WITHDRAW = "a person took it back"


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.QUEUED, Event.CLAIM): State.QUEUED,
    (State.QUEUED, Event.VALID): State.VALIDATED,
    (State.QUEUED, Event.INVALID): State.FAILED,
    (State.QUEUED, Event.UNAVAILABLE): State.QUEUED,
    (State.QUEUED, Event.EXHAUSTED): State.FAILED,
    (State.VALIDATED, Event.CLAIM): State.QUEUED,
    (State.VALIDATED, Event.SEND): State.SENDING,
    (State.VALIDATED, Event.REFUSED): State.FAILED,
    (State.VALIDATED, Event.UNAVAILABLE): State.QUEUED,
    (State.VALIDATED, Event.EXHAUSTED): State.FAILED,
    (State.SENDING, Event.CLAIM): State.QUEUED,
    (State.SENDING, Event.SUCCESS): State.STORED,
    (State.SENDING, Event.WARNING): State.STORED,
    (State.SENDING, Event.REFUSED): State.FAILED,
    (State.SENDING, Event.UNAVAILABLE): State.QUEUED,
    (State.SENDING, Event.UNSENT): State.VALIDATED,
    (State.SENDING, Event.EXHAUSTED): State.FAILED,
    (State.STORED, Event.CLAIM): State.STORED,
    (State.STORED, Event.INVALID): State.FAILED,
    (State.STORED, Event.ASK): State.STORED,
    (State.STORED, Event.COMMIT): State.COMMITTED,
    (State.STORED, Event.COMMIT_MISSING): State.QUEUED,
    (State.STORED, Event.COMMIT_FAILED): State.FAILED,
    (State.STORED, Event.COMMIT_POSTPONED): State.STORED,
    (State.STORED, Event.SAME): State.CONFIRMED,
    (State.STORED, Event.DIFFERENT): State.FAILED,
    (State.STORED, Event.MISSING): State.QUEUED,
    (State.STORED, Event.UNAVAILABLE): State.STORED,
    (State.STORED, Event.EXHAUSTED): State.FAILED,
    (State.COMMITTED, Event.CLAIM): State.COMMITTED,
    (State.COMMITTED, Event.INVALID): State.FAILED,
    (State.COMMITTED, Event.SAME): State.CONFIRMED,
    (State.COMMITTED, Event.DIFFERENT): State.FAILED,
    (State.COMMITTED, Event.MISSING): State.QUEUED,
    (State.COMMITTED, Event.UNAVAILABLE): State.COMMITTED,
    (State.COMMITTED, Event.EXHAUSTED): State.FAILED,
    (State.FAILED, Event.REQUEUE): State.QUEUED,
    (State.QUEUED, Event.HURRY): State.QUEUED,
    (State.STORED, Event.HURRY): State.STORED,
    (State.COMMITTED, Event.HURRY): State.COMMITTED,
    (State.QUEUED, Event.WITHDRAW): State.WITHDRAWN,
    (State.STORED, Event.WITHDRAW): State.WITHDRAWN,
    (State.COMMITTED, Event.WITHDRAW): State.WITHDRAWN,
    (State.CONFIRMED, Event.WITHDRAW): State.WITHDRAWN,
    (State.FAILED, Event.WITHDRAW): State.WITHDRAWN,
}

TERMINAL = frozenset({State.CONFIRMED, State.FAILED, State.WITHDRAWN})
"""Nothing more happens by itself."""

WAITING = frozenset({State.QUEUED, State.STORED, State.COMMITTED})
"""The next sender takes it up once `next_attempt` has come."""

POSTPONING = frozenset({Event.UNAVAILABLE, Event.COMMIT_MISSING, Event.COMMIT_POSTPONED, Event.MISSING})
"""Events after which the delivery rests until its next attempt."""

ATTEMPTS_AT_MOST = 20
"""With the pauses of `next_attempt` these are about ten days."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an event does to a delivery."""

    state: State
    stage: str | None
    """Name of the stage to record, if it is worth one."""
    next_attempt: datetime | None
    """When the delivery is due again; `None` leaves it as it is."""
    released: bool
    """Whether the sender's claim ends."""


LONGEST_REST = timedelta(days=1)
"""Between two attempts, and of a lease: what is to come later was written by a clock that was wrong."""


def next_attempt(failed_at: datetime, attempts: int) -> datetime:
    """Return when to try again after so many attempts: 1, 2, 4 ... minutes later, at most one day."""
    return failed_at + min(timedelta(minutes=2 ** max(min(attempts, ATTEMPTS_AT_MOST) - 1, 0)), LONGEST_REST)


def decide(state: State, event: Event, *, attempts: int, now: datetime) -> Decision:
    """Return what an event does to a delivery in this state after so many attempts.

    Raises
    ------
    ValueError
        If the event cannot happen in this state.
    """
    if (state, event) not in TRANSITIONS:
        raise ValueError(f"A delivery that is {state.value} cannot take the event {event.name}")
    if (event in POSTPONING or event is Event.CLAIM) and attempts >= ATTEMPTS_AT_MOST:
        event = Event.EXHAUSTED
    target = TRANSITIONS[state, event]
    if event in POSTPONING:
        return Decision(target, "postponed", next_attempt(now, attempts), released=True)
    if event is Event.REQUEUE:
        return Decision(target, target.value, now, released=True)
    if event is Event.HURRY:  # whoever holds it keeps it
        return Decision(target, None, now, released=False)
    stage = target.value if target is not state else None
    return Decision(target, stage, None, released=target in TERMINAL)


# --- the standard's codes in plain words -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code of the node means for the delivery, and for a person."""

    event: Event
    words: str


STORE_STATUS: tuple[tuple[int, int, Event, str], ...] = (
    (0x0000, 0x0000, Event.SUCCESS, "stored"),
    (0x0001, 0x0001, Event.WARNING, "stored, with a warning of the node"),
    (0x0105, 0x0105, Event.REFUSED, "the node does not know one of the attributes"),
    (0x0106, 0x0106, Event.REFUSED, "the node finds one of the values invalid"),
    (0x0107, 0x0107, Event.WARNING, "stored; the node does not know some of the attributes"),
    (0x0110, 0x0110, Event.UNAVAILABLE, "the node failed while it processed the instance"),
    (0x0111, 0x0111, Event.WARNING, "the node says that it already holds an instance of this UID"),
    (0x0116, 0x0116, Event.WARNING, "stored; the node finds a value out of range"),
    (0x0117, 0x0117, Event.REFUSED, "the node finds the SOP Instance UID invalid"),
    (0x0118, 0x0118, Event.REFUSED, "the node does not know this SOP class"),
    (0x0119, 0x0119, Event.REFUSED, "the node holds this UID as an instance of another SOP class"),
    (0x0120, 0x0121, Event.REFUSED, "the node misses an attribute or its value"),
    (0x0122, 0x0122, Event.REFUSED, "the node does not accept this SOP class"),
    (0x0123, 0x0123, Event.REFUSED, "the node does not offer this service"),
    (0x0124, 0x0124, Event.REFUSED, "the node does not allow this AE title to store"),
    (0x0210, 0x0210, Event.UNAVAILABLE, "the node saw this message ID before"),
    (0x0211, 0x0212, Event.REFUSED, "the node does not understand the request"),
    (0x0213, 0x0213, Event.UNAVAILABLE, "the node has reached a limit"),
    (0xA700, 0xA7FF, Event.UNAVAILABLE, "the node is out of resources, for instance of disk space"),
    (0xA900, 0xA9FF, Event.REFUSED, "the node finds that the data set does not match its SOP class"),
    (0xB000, 0xB000, Event.WARNING, "stored, but the node changed some of the values"),
    (0xB006, 0xB006, Event.WARNING, "stored, but the node left out some of the elements"),
    (
        0xB007,
        0xB007,
        Event.WARNING,
        "stored, but the node finds that the data set does not match its SOP class",
    ),
    (0xB001, 0xBFFF, Event.WARNING, "stored, with a warning of the node"),
    (0xC000, 0xCFFF, Event.REFUSED, "the node cannot understand the data set"),
    (0xFE00, 0xFE00, Event.UNAVAILABLE, "the node cancelled"),
)
"""C-STORE response status, first row that fits (PS3.4 table B.2-1, PS3.7 annex C)."""

FAILURE_REASON: Mapping[int, tuple[Event, str]] = {
    0x0110: (Event.COMMIT_POSTPONED, "the node failed while it processed the request"),
    0x0112: (Event.COMMIT_MISSING, "the node does not hold the instance"),
    0x0115: (Event.COMMIT_POSTPONED, "the node finds an argument of the request invalid"),
    0x0119: (Event.COMMIT_FAILED, "the node holds this UID as an instance of another SOP class"),
    0x0122: (Event.COMMIT_FAILED, "the node does not commit to instances of this SOP class"),
    0x0131: (Event.COMMIT_POSTPONED, "the node saw this transaction UID before"),
    0x0213: (Event.COMMIT_POSTPONED, "the node has reached a limit"),
}
"""Failure Reason (0008,1197) of storage commitment (PS3.3 table C.14-1)."""


def store_meaning(status: int) -> Meaning:
    """Return what a C-STORE status means; one the standard does not name may be better later."""
    for first, last, event, words in STORE_STATUS:
        if first <= status <= last:
            return Meaning(event, f"{words} (status {status:04X})")
    return Meaning(Event.UNAVAILABLE, f"the node answered with a status nobody defined ({status:04X})")


def commitment_meaning(reason: int) -> Meaning:
    """Return what a failure reason of storage commitment means; an unknown one may be better later."""
    event, words = FAILURE_REASON.get(
        reason, (Event.COMMIT_POSTPONED, "the node gave a reason nobody defined")
    )
    return Meaning(event, f"{words} (failure reason {reason:04X})")
