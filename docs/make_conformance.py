"""Writes `docs/conformance.md`: the conformance statement (PS3.2), from the tables of the code.

`python docs/make_conformance.py`. What the page says of codes, limits and settings stands in the code, here
is their order; `promises.py` beside it has the promises, and which tests hold them.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from importlib import import_module
from inspect import getsource
from itertools import pairwise
from pathlib import Path
from runpy import run_path
from typing import Any

from pydicom.uid import UID

from catalog.deliveries import FAILURE_REASON, STORE_STATUS
from workbench.pacs import sop_classes as uids
from workbench.pacs.dimse import QUERY_RETRIEVE_STATUS
from workbench.pacs.limits import Limits
from workbench.pacs.metrics import GAUGES, PREFIX
from workbench.pacs.proposed import SYNTAXES
from workbench.pacs.tallies import COUNTERS
from workbench.pacs.web import stow
from workbench.pacs.wire.negotiation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

HERE = Path(__file__).resolve().parent
PAGE, TEMPLATE = HERE / "conformance.md", HERE / "conformance.template.md"


@dataclass(frozen=True, slots=True)
class Service:
    """One SOP class, or all of a kind."""

    name: str
    uid: str
    syntaxes: str
    words: str
    """What a node must be allowed to ask it, or what this bench asks it for."""


_PLAIN = "Implicit and Explicit VR Little Endian"
_ANY = "every one that is proposed, private ones too"
EVERY = "every one that the caller proposes and no other service has"

OFFERED = (
    Service("Verification", uids.VERIFICATION, _PLAIN, ""),
    Service("Storage: every class, standard, private or unknown", EVERY, _ANY, "store"),
    Service("Patient Root Query/Retrieve: FIND", uids.PATIENT_ROOT_FIND, _PLAIN, "find"),
    Service("Study Root Query/Retrieve: FIND", uids.STUDY_ROOT_FIND, _PLAIN, "find"),
    Service("Patient Root Query/Retrieve: MOVE", uids.PATIENT_ROOT_MOVE, _PLAIN, "retrieve"),
    Service("Study Root Query/Retrieve: MOVE", uids.STUDY_ROOT_MOVE, _PLAIN, "retrieve"),
    Service("Patient Root Query/Retrieve: GET", uids.PATIENT_ROOT_GET, _PLAIN, "retrieve"),
    Service("Study Root Query/Retrieve: GET", uids.STUDY_ROOT_GET, _PLAIN, "retrieve"),
    Service("Storage Commitment Push Model", uids.STORAGE_COMMITMENT_PUSH_MODEL, _PLAIN, "commit"),
)
"""What `workbench receive` answers as SCP; `tests/integration/test_conformance.py` asks it."""

ASKED = (
    Service(
        "Verification",
        uids.VERIFICATION,
        _PLAIN,
        "whether a node answers (C-ECHO)",
    ),
    Service(
        "Storage: the class of each object that is sent",
        "that of the object",
        "that of the file alone; nothing is transcoded",
        "results, originals, withdrawals, what rules forward (C-STORE), also as sub-operations of a C-MOVE "
        "that this bench answers",
    ),
    Service(
        "Study Root Query/Retrieve: FIND",
        uids.STUDY_ROOT_FIND,
        _PLAIN,
        "questions (`find`), surveys, harvests, reading back",
    ),
    Service(
        "Patient Root Query/Retrieve: FIND",
        uids.PATIENT_ROOT_FIND,
        _PLAIN,
        "questions (`find`) about patients, and any that are asked by this root; both are proposed together",
    ),
    Service(
        "Modality Worklist: FIND",
        uids.MODALITY_WORKLIST_FIND,
        _PLAIN,
        "what is scheduled (`worklist`), with every key of step, request and patient that is known here",
    ),
    Service(
        "Study Root Query/Retrieve: GET",
        uids.STUDY_ROOT_GET,
        _PLAIN,
        "fetching and reading back; storage of the expected classes as SCP by role selection (PS3.7 D.3.3.4)",
    ),
    Service(
        "Study Root Query/Retrieve: MOVE",
        uids.STUDY_ROOT_MOVE,
        _PLAIN,
        "the same where a node has no GET; the destination is this bench",
    ),
    Service(
        "Storage Commitment Push Model",
        uids.STORAGE_COMMITMENT_PUSH_MODEL,
        _PLAIN,
        "each object that was sent; the report is taken on the same association or another",
    ),
)
"""What this bench asks of nodes as SCU."""

STATUSES: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "**C-STORE**": (
        (
            "workbench.pacs.receiver",
            "SUCCESS",
            "stored, or an identical one is here, or kept beside one with other bytes (P1, P3)",
        ),
        ("workbench.pacs.receiver", "NOT_AUTHORIZED", "this caller may not store"),
        (
            "workbench.pacs.receiver",
            "OUT_OF_RESOURCES",
            "the disk is nearly full (`receive_free_mb`), or the object could not be kept; later it may be",
        ),
        (
            "workbench.pacs.receiver",
            "NOT_ITS_CLASS",
            "the object has another SOP Class or Instance UID than it was sent under; in quarantine",
        ),
        (
            "workbench.pacs.receiver",
            "CANNOT_UNDERSTAND",
            "unreadable, cut, or without a UID that is needed; in quarantine with the reason",
        ),
        (
            "workbench.pacs.receiver",
            "DUPLICATE_SOP_INSTANCE",
            "another object has its SOP Instance UID, and `on_conflict` says refuse; both are kept",
        ),
    ),
    "**Any other request**": (
        ("workbench.pacs.receiver", "UNRECOGNIZED_OPERATION", "the presentation context has no such service"),
    ),
    "**C-FIND**": (
        ("workbench.pacs.queries", "PENDING", "one match"),
        (
            "workbench.pacs.queries",
            "PENDING_WITHOUT_SOME_KEYS",
            "one match; a key is not supported, not matched, or of a level below",
        ),
        ("workbench.pacs.queries", "_SUCCESS", "the last match was told"),
        ("workbench.pacs.queries", "_CANCELLED", "the caller cancelled"),
        (
            "workbench.pacs.queries",
            "_NOT_ITS_CLASS",
            "no level of the model, a key that cannot be matched, or a value that cannot be read",
        ),
        ("workbench.pacs.queries", "_CANNOT_PROCESS", "the catalog could not be asked"),
        ("workbench.pacs.receiver", "CANNOT_UNDERSTAND", "the identifier cannot be read"),
        ("workbench.pacs.receiver", "NOT_AUTHORIZED", "this caller may not ask"),
    ),
    "**C-GET and C-MOVE**": (
        ("workbench.pacs.retrieving", "PENDING", "after each sub-operation, with counts"),
        ("workbench.pacs.retrieving", "SUCCESS", "every sub-operation succeeded; or nothing was found"),
        ("workbench.pacs.retrieving", "SOME_FAILED", "some failed; their UIDs are listed"),
        ("workbench.pacs.retrieving", "NONE_SENT", "none succeeded"),
        ("workbench.pacs.retrieving", "CANCELLED", "the caller cancelled"),
        ("workbench.pacs.retrieving", "NOT_AUTHORIZED", "this caller may not retrieve"),
        (
            "workbench.pacs.retrieving",
            "TOO_MANY",
            "more instances than one request may have, or an identifier that is too long",
        ),
        ("workbench.pacs.retrieving", "UNKNOWN_DESTINATION", "the destination is no node of the settings"),
        (
            "workbench.pacs.retrieving",
            "NOT_ITS_CLASS",
            "no level of the model, no unique key, or a pattern instead of it",
        ),
        ("workbench.pacs.retrieving", "CANNOT_PROCESS", "the catalog could not be asked"),
    ),
    "**N-ACTION of storage commitment**": (
        ("workbench.pacs.commitments", "SUCCESS", "the request is on the disk, the report follows"),
        ("workbench.pacs.commitments", "PROCESSING_FAILURE", "the request could not be kept"),
        ("workbench.pacs.commitments", "INVALID_ARGUMENT", "no references, or something that is no UID"),
        ("workbench.pacs.commitments", "NO_SUCH_ACTION", "another action than a request"),
        ("workbench.pacs.commitments", "NOT_AUTHORIZED", "this caller may not ask"),
        (
            "workbench.pacs.commitments",
            "RESOURCE_LIMITATION",
            "too many references, or too many reports are owed to this caller",
        ),
    ),
}
"""Status codes that are answered as SCP: module and name of the constant, and when."""

LIMITS: Mapping[str, Sequence[str]] = {
    "workbench.pacs.receiver": ("MAXIMUM_PDU", "SILENT_SECONDS", "DRAIN_SECONDS"),
    "workbench.pacs.acceptor": (
        "ARTIM_SECONDS",
        "CONNECTIONS_AT_MOST",
        "FROM_ONE_ADDRESS",
        "STRANGERS_AT_MOST",
    ),
    "workbench.pacs.wire.pdu": ("LARGEST_CONTROL_PDU", "LARGEST_SENT_PDU"),
    "workbench.pacs.wire.messages": ("LARGEST_COMMAND", "LARGEST_HELD"),
    "workbench.pacs.wire.connection": ("LEAST_BYTES_PER_SECOND",),
    "workbench.pacs.conversation": ("MESSAGES_AHEAD",),
    "workbench.pacs.commitments": (
        "REFERENCES_AT_MOST",
        "SAME_ASSOCIATION_SECONDS",
        "SETTLE_SECONDS",
        "KEPT",
    ),
    "workbench.pacs.owed": ("OWED_AT_MOST",),
    "workbench.pacs.retrieving": ("INSTANCES_AT_MOST", "UIDS_AT_MOST", "LARGEST_QUESTION"),
    "workbench.pacs.serving": ("STOP_SECONDS",),
    "workbench.pacs.association": ("CONTEXTS_AT_MOST",),
    "workbench.pacs.dimse": ("ANSWERS_AT_MOST",),
    "workbench.pacs.deliver": ("BATCH", "LEASE", "LOST_ASSOCIATIONS_AT_MOST"),
    "catalog.custody": ("CHECKSUM_BYTES",),
    "catalog.deliveries": ("ATTEMPTS_AT_MOST",),
    "workbench.pacs.web.qido": ("PAGE", "PAGE_BYTES", "ROWS_AT_MOST"),
    "workbench.pacs.web.retrieve": ("LARGEST_PART", "FAILURES_AT_MOST"),
    "workbench.pacs.web.client": ("SLOWEST",),
    "workbench.pacs.web.multipart": ("LARGEST_HEAD",),
    "workbench.pacs.web.stow": ("LEAST_BYTES_PER_SECOND", "ANSWER_BYTES"),
    "workbench.pacs.node": ("ANSWERS",),
    "workbench.pacs.limits": ("LONGEST_PAUSE",),
    "workbench.routing.carriers": ("PAUSE_SECONDS", "OTHERS"),
    "workbench.routing.work": ("LOOK_SECONDS", "AGAIN_SECONDS", "END_SECONDS"),
}
"""Constants whose value and words go on the page."""

SETTINGS = (
    "ae_title", "listen_host", "listen_port", "receive_host", "receive_port", "receive_free_mb",
    "on_conflict", "tls_certificate", "tls_key", "tls_authorities", "commitment_seconds", "stable_seconds",
    "deidentifier", "routes", "nodes",
)  # fmt: skip
"""Those of `workbench.settings.Settings` that are of the network."""
_SETTING = ("setting", "default", "what it is")


def page() -> str:
    """The conformance statement."""
    known = run_path(str(HERE / "promises.py"))
    return TEMPLATE.read_text(encoding="utf-8").format(
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
        offered=_table(
            ("SOP class", "UID", "transfer syntaxes", "a node may ask with"), map(_offered, OFFERED)
        ),
        asked=_table(("SOP class", "UID", "transfer syntaxes", "what for"), map(_asked, ASKED)),
        syntaxes=", ".join(f"{UID(each).name} ({each})" for each in SYNTAXES),
        statuses="\n\n".join(_statuses()),
        store_status=_table(("status", "what it means", "what is done"), _answers(STORE_STATUS)),
        query_status=_table(
            ("status", "what it means"),
            ((_codes(first, last), words) for first, last, words in QUERY_RETRIEVE_STATUS),
        ),
        failure_reason=_table(
            ("reason", "what it means", "what is done"),
            ((f"{code:04X}", words, event.value) for code, (event, words) in FAILURE_REASON.items()),
        ),
        stow_status=_table(
            ("status", "what it means", "what is done"),
            ((_numbers(first, last), words, DONE[event.name]) for first, last, event, words in stow.STATUS),
        ),
        stow_reason=_table(
            ("failure reason", "what it means", "what is done"),
            (
                (f"{code:04X}", each.words, DONE[each.event.name])
                for code, each in stow.FAILURE_REASONS.items()
            ),
        ),
        limits=_table(("limit", "value", "what it is"), _limits()),
        settings=_table(_SETTING, _settings()),
        dimse_node=_table(_SETTING, _fields("workbench.pacs.dimse_node", "DimseNode")),
        web_node=_table(_SETTING, _fields("workbench.pacs.web.node", "WebNode")),
        node_limits=_table(_SETTING, _fields("workbench.pacs.limits", "Limits")),
        rule=_table(_SETTING, _fields("workbench.routing.rules", "Rule")),
        metrics=_table(("metric", "what it is"), _metrics()),
        promises=_table(
            ("", "promise", "held by"),
            ((name, each.words, _tests(each.tests)) for name, each in known["PROMISES"].items()),
        ),
        faults=_table(
            ("", "what goes wrong", "held by"),
            ((name, words, _tests(tests)) for name, (words, tests) in known["FAULTS"].items()),
        ),
    )


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def _cell(text: object) -> str:
    return " ".join(str(text).replace("|", "\\|").split())


def _offered(each: Service) -> tuple[str, ...]:
    return (
        each.name,
        each.uid,
        each.syntaxes,
        f'`may = ["{each.words}"]`' if each.words else "nothing: every node may",
    )


def _asked(each: Service) -> tuple[str, ...]:
    return each.name, each.uid, each.syntaxes, each.words


def _statuses() -> Iterator[str]:
    for service, rows in STATUSES.items():
        cells = ((_code(module, name), words) for module, name, words in rows)
        yield f"{service}\n\n" + _table(("status", "when"), cells)


def _code(module: str, name: str) -> str:
    return f"{getattr(import_module(module), name):04X}"


def _answers(rows: Any) -> Iterator[tuple[str, str, str]]:
    for first, last, event, words in rows:
        yield _codes(first, last), words, DONE[event.name]


DONE = {
    "SUCCESS": "goes on to commitment and reading back",
    "WARNING": "goes on; the receipt says so, and reading back decides",
    "REFUSED": "failed: a person decides",
    "UNAVAILABLE": "tried again later",
}
"""What the outbox does at each event."""


def _codes(first: int, last: int) -> str:
    return f"{first:04X}" if first == last else f"{first:04X} to {last:04X}"


def _numbers(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _limits() -> Iterator[tuple[str, str, str]]:
    for module, names in LIMITS.items():
        words = told(module)
        for name in names:
            yield f"`{name}`", value_of(getattr(import_module(module), name)), words[name]


def _settings() -> Iterator[tuple[str, str, str]]:
    from workbench.settings import Settings

    words = told("workbench.settings", "Settings")
    for name in SETTINGS:
        field = Settings.model_fields[name]
        default = field.get_default(call_default_factory=True)
        yield f"`{name}`", value_of(default), words[name]


def _fields(module: str, name: str) -> Iterator[tuple[str, str, str]]:
    from dataclasses import MISSING, fields

    words = told(module, name)
    for each in fields(getattr(import_module(module), name)):
        default = "" if each.default is MISSING else value_of(each.default)
        yield f"`{each.name}`", default, words[each.name]


def _metrics() -> Iterator[tuple[str, str]]:
    for name, kind in COUNTERS.items():
        by = f" By outcome: {', '.join(kind.outcomes)}." if any(kind.outcomes) else ""
        yield f"`{PREFIX}receive_{name}_total`", kind.words + by
    for name, (words, _) in GAUGES.items():
        yield f"`{PREFIX}{name}`", words


def told(module: str, name: str | None = None) -> dict[str, str]:
    """Return the words that stand below each constant of a module, or each field of a class."""
    body: Sequence[ast.stmt] = ast.parse(getsource(import_module(module))).body
    if name is not None:
        body = next(each for each in body if isinstance(each, ast.ClassDef) and each.name == name).body
    found: dict[str, str] = {}
    for before, after in pairwise(body):
        target = before.target if isinstance(before, ast.AnnAssign) else None
        if isinstance(before, ast.Assign):
            target = before.targets[0]
        is_words = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(target, ast.Name) and is_words:
            found[target.id] = str(after.value.value)  # type: ignore[attr-defined]
    return found


def value_of(value: object) -> str:
    """A value as people write it."""
    match value:
        case None | "" | Limits():
            return "none"
        case bool():
            return "yes" if value else "no"
        case timedelta():
            return str(value)
        case int() if value >= 4096 and value % 1024 == 0:
            return f"{value:,} ({value // 1024:,} × 1024)"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:g}"
        case tuple():
            return ", ".join(map(str, value)) or "none"
        case dict():
            return "none"
        case Enum():
            return str(value.value)
        case _:
            return str(value)


def _tests(tests: Sequence[str]) -> str:
    return "<br>".join(f"`{each}`" for each in tests)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
