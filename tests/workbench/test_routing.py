"""Rules carried out for what was received: once, whole, never back, and no identity where it must not be."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest

import workbench
from catalog import outbox, routings
from catalog.arrivals import Claim
from catalog.database import Catalog
from catalog.deliveries import Origin, State
from catalog.errors import CatalogError, SettingsError
from catalog.identifiers import digest, new_uid
from catalog.intake import Intake
from catalog.receptions import Sender
from catalog.records import RemoteSeries
from catalog.remotes import record_remotes
from catalog.series_events import list_events
from pipelines import phantoms
from workbench.routing.identity import Deidentifier
from workbench.routing.router import Places, Router
from workbench.routing.rules import Rule, Table
from workbench.settings import Settings

SCANNER = Sender("SCANNER", "SCAN", "WORKBENCH")
NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


class Bench:
    """An intake and a router with clocks of the test's own."""

    def __init__(self, catalog: Catalog, home: Path) -> None:
        self.catalog, self.home = catalog, home
        self.intake = Intake(catalog, home / "received")
        self.seconds = 0.0
        self.wall = NOW

    def router(self, *rules: Rule, deidentify: Callable[[Path, Path], None] | None = None) -> Router:
        deidentifier = Deidentifier(deidentify, "tests:deidentify") if deidentify else None
        return Router(
            self.catalog,
            Table(rules, {"PACS": "PACS", "RESEARCH": "RESEARCH", "SCANNER": "SCAN"}),
            Places(self.intake.folder, self.home / "outbox", self.home),
            deidentifier,
            60.0,
            lambda: self.wall,
            lambda: self.seconds,
        )

    def receive(self, paths: Sequence[Path], sender: Sender = SCANNER) -> None:
        for path in paths:
            with self.intake.incoming() as incoming:
                incoming.write(path.read_bytes())
                self.intake.take(incoming, Claim(sender=sender))

    def queued(self, node: str = "PACS") -> list[str]:
        return [each.sop_instance_uid for each in outbox.deliveries(self.catalog, node=node)]


@pytest.fixture
def bench(catalog: Catalog, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(catalog, tmp_path / "home")
    with opened.intake:
        yield opened


def anonymous(source: Path, target: Path) -> None:
    """What a user's function may look like."""
    ds = pydicom.dcmread(source)
    ds.PatientID, ds.PatientName = "STUDY-1", "STUDY-1"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = new_uid(), new_uid(), new_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(target)


ALL = Rule("all", forward=("PACS",))


def test_what_is_received_is_queued_as_it_lies_and_as_nobodys_result(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.receive(ct.paths)
    done = bench.router(ALL).round()

    assert done.asked == len(ct.paths)
    deliveries = outbox.deliveries(bench.catalog, node="PACS")
    assert [each.sop_instance_uid for each in deliveries] == list(ct.sop_instance_uids)
    for each, path in zip(deliveries, ct.paths, strict=True):
        assert Path(each.path).read_bytes() == path.read_bytes()
        assert each.digest == digest(path.read_bytes())
        assert (each.origin, each.is_result) == (Origin.RECEIVED, False)
        assert Path(each.path).is_relative_to(bench.intake.folder), "no copy is made"


def test_a_second_round_and_a_second_sending_queue_nothing_more(bench: Bench, ct: phantoms.Phantom) -> None:
    router = bench.router(ALL)
    bench.receive(ct.paths)
    router.round()
    before = outbox.deliveries(bench.catalog)
    assert router.round().effects == ()
    bench.receive(ct.paths)
    bench.receive(ct.paths, Sender("ANOTHER", "OTHER", "WORKBENCH"))
    assert router.round().effects == ()
    assert outbox.deliveries(bench.catalog) == before


def test_two_rules_for_one_node_make_one_delivery(bench: Bench, ct: phantoms.Phantom) -> None:
    again = Rule("CT", where="Modality == 'CT'", forward=("PACS", "RESEARCH"))
    bench.receive(ct.paths[:1])
    bench.router(ALL, again).round()
    assert (bench.queued(), bench.queued("RESEARCH")) == ([ct.sop_instance_uids[0]],) * 2


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule("x", sent_by=("SCANNER",), forward=("PACS",)), True),
        (Rule("x", sent_by=("SCAN",), forward=("PACS",)), True),
        (Rule("x", sent_by=("OTHER",), forward=("PACS",)), False),
        (Rule("x", called=("WORKBENCH",), forward=("PACS",)), True),
        (Rule("x", called=("OTHER",), forward=("PACS",)), False),
        (Rule("x", where="Modality == 'CT'", forward=("PACS",)), True),
        (Rule("x", where="Modality == 'MR'", forward=("PACS",)), False),
        (Rule("x", where="SeriesDescription ~ 'nowhere'", forward=("PACS",)), False),
        (Rule("x", where="SOPClassUID == '1.2.840.10008.5.1.4.1.1.2'", forward=("PACS",)), True),
        (Rule("x", where="InstanceNumber == 99", forward=("PACS",)), False),
    ],
    ids=str,
)
def test_a_rule_asks_who_sent_it_who_was_called_and_what_it_is(
    bench: Bench, ct: phantoms.Phantom, rule: Rule, fits: bool
) -> None:
    bench.receive(ct.paths[:1])
    bench.router(rule).round()
    assert bool(bench.queued()) is fits


def test_a_rule_that_stores_keeps_the_rules_below_from_forwarding(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.receive(ct.paths[:1])
    done = bench.router(Rule("keep CT", where="Modality == 'CT'", store=True), ALL).round()
    assert [(each.rule, each.outcome) for each in done.effects] == [("keep CT", "stored")]
    assert bench.queued() == []


def test_nothing_goes_back_to_where_it_came_from_however_it_came_later(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    rules = Rule("to both", forward=("PACS", "SCANNER"))
    router = bench.router(rules)
    bench.receive(ct.paths[:1])
    done = router.round()
    assert [(each.node, each.outcome) for each in done.effects] == [("PACS", "queued"), ("SCANNER", "held")]
    bench.receive(ct.paths[:1], Sender("PACS", "PACS", "WORKBENCH"))
    router.round()
    assert (bench.queued(), bench.queued("SCANNER")) == ([ct.sop_instance_uids[0]], [])


def test_who_has_no_name_and_calls_by_the_title_of_a_node_is_taken_for_it(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.receive(ct.paths[:1], Sender("", "PACS", "WORKBENCH"))
    (effect,) = bench.router(ALL).round().effects
    assert (effect.outcome, effect.words) == ("held", "it came from PACS")


def test_a_result_of_ours_that_comes_back_goes_nowhere(bench: Bench, ct: phantoms.Phantom) -> None:
    with bench.catalog.transaction() as connection:
        item = outbox.Item(ct.paths[0], "ARCHIVE", ct.sop_instance_uids[0], "1.2.3", "d", is_result=True)
        outbox.enqueue(connection, item, NOW)
    bench.receive(ct.paths[:1])
    (effect,) = bench.router(ALL).round().effects
    assert (effect.outcome, bench.queued()) == ("held", [])


def test_of_two_objects_with_one_UID_only_the_one_that_counts_is_forwarded(
    bench: Bench, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    content = ct.paths[0].read_bytes()
    (other := tmp_path / "other.dcm").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    bench.receive([ct.paths[0], other, ct.paths[0]])
    done = bench.router(ALL).round()
    assert done.asked == 3
    (delivery,) = outbox.deliveries(bench.catalog)
    assert delivery.digest == digest(content)


def test_what_cannot_be_read_goes_nowhere(bench: Bench, ct: phantoms.Phantom, tmp_path: Path) -> None:
    (cut := tmp_path / "cut.dcm").write_bytes(ct.paths[0].read_bytes()[:-9])
    bench.receive([cut])
    assert bench.router(ALL).round().asked == 1
    assert bench.queued() == []


# --- identity --------------------------------------------------------------------------------------------

WITHOUT = Rule("research", forward=("RESEARCH",), deidentify=True)


def test_without_a_function_that_removes_identities_nothing_leaves_and_it_says_why(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.receive(ct.paths[:1])
    (effect,) = bench.router(WITHOUT, Rule("also", forward=("RESEARCH",))).round().effects
    assert effect.outcome == "refused"
    assert "set deidentifier" in effect.words
    assert bench.queued("RESEARCH") == []


def test_what_was_refused_is_asked_about_again_when_the_function_is_there(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.receive(ct.paths)
    bench.router(WITHOUT).round()
    router = bench.router(WITHOUT, deidentify=anonymous)
    assert router.round().effects == (), "a round asks about nothing twice"
    assert {each.outcome for each in router.again()} == {"queued"}
    assert len(bench.queued("RESEARCH")) == len(ct.paths)
    assert router.again() == []
    assert routings.counts(bench.catalog) == {("research", "queued"): len(ct.paths)}


def test_what_goes_out_without_identity_shows_none_and_is_signed(bench: Bench, ct: phantoms.Phantom) -> None:
    bench.receive(ct.paths[:1])
    bench.router(WITHOUT, deidentify=anonymous).round()
    (delivery,) = outbox.deliveries(bench.catalog, node="RESEARCH")
    ds, original = pydicom.dcmread(delivery.path), pydicom.dcmread(ct.paths[0])
    assert delivery.origin == Origin.DEIDENTIFIED
    assert digest(Path(delivery.path).read_bytes()) == delivery.digest
    assert delivery.sop_instance_uid == ds.SOPInstanceUID != original.SOPInstanceUID
    assert str(original.PatientID) not in str(ds.to_json())
    assert ds.PixelData == original.PixelData
    (signed,) = ds.ContributingEquipmentSequence
    assert signed.PurposeOfReferenceCodeSequence[0].CodeValue == "109104"


def forgetful(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def half(source: Path, target: Path) -> None:
    anonymous(source, target)
    ds = pydicom.dcmread(target)
    ds.PatientID = pydicom.dcmread(source).PatientID
    ds.save_as(target)


def broken(_source: Path, _target: Path) -> None:
    raise RuntimeError("MEIER^HANS has no birth date")


def lazy(_source: Path, _target: Path) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (forgetful, "still has its PatientID, PatientName, StudyInstanceUID"),
        (half, "still has its PatientID"),
        (broken, "failed with RuntimeError"),
        (lazy, "cannot be opened"),
    ],
)
def test_a_function_that_does_not_do_its_work_lets_nothing_out(
    bench: Bench, ct: phantoms.Phantom, function: Callable[[Path, Path], None], words: str
) -> None:
    bench.receive(ct.paths[:1])
    (effect,) = bench.router(WITHOUT, deidentify=function).round().effects
    assert effect.outcome == "refused"
    assert words in effect.words
    assert "MEIER" not in effect.words
    assert outbox.deliveries(bench.catalog) == []
    assert list((bench.home / "outbox").glob("*.dcm*")) == []


def test_what_a_bench_made_anonymous_is_not_made_so_again_by_another(
    bench: Bench, ct: phantoms.Phantom, tmp_path: Path
) -> None:
    bench.receive(ct.paths[:1])
    router = bench.router(WITHOUT, deidentify=anonymous)
    router.round()
    (sent,) = outbox.deliveries(bench.catalog)
    assert "held" in {each.outcome for each in _again(bench, router, Path(sent.path))}, "it came back"
    ds = pydicom.dcmread(sent.path)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = new_uid()  # as another bench's
    ds.save_as(other := tmp_path / "other.dcm")
    (effect,) = _again(bench, router, other)
    assert (effect.outcome, effect.words) == ("refused", "a bench removed its patient's identity before")


def _again(bench: Bench, router: Router, path: Path) -> Sequence[Any]:
    bench.receive([path], Sender("FAR", "FAR", "WORKBENCH"))
    return router.round().effects


# --- series ----------------------------------------------------------------------------------------------

LATER = Rule("whole series", when="stable", forward=("PACS",))  # type: ignore[arg-type]  # as the file has it


def test_a_series_is_stable_when_nothing_came_for_a_while_and_only_then_goes_on(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    router = bench.router(LATER)
    bench.receive(ct.paths[:2])
    router.round()
    bench.seconds = 59.0
    bench.receive(ct.paths[2:3])
    assert router.round().events == ()
    bench.seconds = 118.9
    assert router.round().events == ()
    assert bench.queued() == []
    bench.seconds = 119.0
    (event,) = router.round().events
    assert (event.instances, event.rule) == (3, "no instance came for 60 seconds")
    assert bench.queued() == list(ct.sop_instance_uids[:3])
    assert router.round().events == (), "once"


def test_what_comes_later_opens_it_again_for_a_later_event(bench: Bench, ct: phantoms.Phantom) -> None:
    router = bench.router(LATER)
    bench.receive(ct.paths[:2])
    router.round()
    bench.seconds = 60
    router.round()
    bench.receive(ct.paths[2:])
    assert [each.is_open for each in list_events(bench.catalog)] == [True]
    router.round()
    bench.seconds = 120
    router.round()
    events = list_events(bench.catalog)
    assert [(each.instances, each.is_open) for each in events] == [(len(ct.paths), False), (2, False)]
    assert events[0].number > events[1].number
    assert bench.queued() == list(ct.sop_instance_uids)


def test_32_the_wall_clock_makes_no_series_stable_and_keeps_none_from_it(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    router = bench.router(LATER)
    bench.receive(ct.paths)
    router.round()
    bench.wall = NOW + timedelta(days=10)
    assert router.round().events == ()
    bench.wall, bench.seconds = NOW - timedelta(hours=1), 60.0
    assert len(router.round().events) == 1


def test_after_a_restart_the_time_begins_anew_and_the_event_comes_once(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.receive(ct.paths)
    bench.router(LATER).round()
    bench.seconds = 1000.0
    restarted = bench.router(LATER)
    assert restarted.round().events == ()
    bench.seconds = 1060.0
    assert len(restarted.round().events) == 1
    bench.seconds = 2000.0
    again = bench.router(LATER)
    again.round()
    bench.seconds = 3000.0
    assert again.round().events == ()


def test_a_series_of_which_all_that_was_told_is_here_is_stable_at_once(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    values = {
        "patient_id": "P", "study_instance_uid": ct.study_instance_uid,
        "series_instance_uid": ct.series_instance_uid, "modality": "CT",
    }  # fmt: skip
    told = RemoteSeries(values, "pacs://PACS", "pacs://PACS", len(ct.paths))
    record_remotes(bench.catalog, "pacs://PACS", [told])
    router = bench.router(LATER)
    bench.receive(ct.paths[:-1])
    assert router.round().events == ()
    bench.receive(ct.paths[-1:])
    (event,) = router.round().events
    assert event.rule == f"the {len(ct.paths)} instances that pacs://PACS told of are here"


# --- notices ---------------------------------------------------------------------------------------------


def test_a_notice_is_a_file_with_one_name_and_nothing_of_a_patient(
    bench: Bench, ct: phantoms.Phantom
) -> None:
    bench.receive(ct.paths[:2])
    each = Rule("each", notify="notices")
    whole = Rule("whole", when="stable", notify="notices")  # type: ignore[arg-type]
    router = bench.router(each, whole)
    router.round()
    bench.seconds = 60.0
    router.round()
    paths = sorted((bench.home / "notices").iterdir())
    told = [json.loads(path.read_text()) for path in paths]
    assert [(one["event"], one["rule"]) for one in told] == [
        ("received", "each"), ("received", "each"), ("stable", "whole"),
    ]  # fmt: skip
    assert (told[0]["sop_instance_uid"], told[0]["node"]) == (ct.sop_instance_uids[0], "SCANNER")
    assert told[2]["instances"] == 2
    patient = pydicom.dcmread(ct.paths[0])
    for text in map(Path.read_text, paths):
        assert str(patient.PatientName) not in text
        assert json.dumps(str(patient.PatientID)) not in text


# --- a crash ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", range(1, 13))
def test_P3_whatever_statement_a_round_dies_at_one_delivery_comes_of_it(
    bench: Bench, ct: phantoms.Phantom, statement: int
) -> None:
    import sqlalchemy as sa

    bench.receive(ct.paths[:2])
    router = bench.router(ALL, WITHOUT, Rule("notice", notify="notices"), deidentify=anonymous)
    count = 0

    def die(_c: Any, _cursor: Any, text: str, *_rest: Any) -> None:
        nonlocal count
        count += text.lstrip().upper().startswith(("INSERT", "UPDATE"))
        if count == statement:
            raise CatalogError("dies here")

    sa.event.listen(bench.catalog.engine, "before_cursor_execute", die)
    try:
        with pytest.raises(CatalogError, match="dies here"):
            router.round()
    finally:
        sa.event.remove(bench.catalog.engine, "before_cursor_execute", die)
    made = {path: path.read_bytes() for path in (bench.home / "outbox").glob("*.dcm")}
    fresh = bench.router(ALL, WITHOUT, Rule("notice", notify="notices"), deidentify=anonymous)
    fresh.round()
    assert bench.queued() == list(ct.sop_instance_uids[:2])
    assert len(bench.queued("RESEARCH")) == 2
    for path, content in made.items():
        assert path.read_bytes() == content, "what was made before the crash is what goes out"
    assert len(list((bench.home / "outbox").glob("*.dcm"))) == 2
    assert len(list((bench.home / "notices").iterdir())) == 2
    assert {each.state for each in outbox.deliveries(bench.catalog)} == {State.QUEUED.value}


# --- settings --------------------------------------------------------------------------------------------

PACS = '[nodes.PACS]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ('name = "x"\nforward = ["NOWHERE"]', "x forwards to NOWHERE, which is no node"),
        ('name = "x"\nforward = ["PACS"]\nwhere = "Modality is"', "the where expression has the end"),
        ('name = "x"', "x does nothing"),
        ('name = "x"\nforward = ["PACS"]\nstore = true', "both forwards and only stores"),
        ('name = "x"\nnotify = "n"\ndeidentify = true', "de-identifies for nobody"),
        ('name = "x"\nforward = ["PACS"]\nhours = "25:00-1:00"', "hours are such as"),
        ('name = "x"\nforward = ["PACS"]\nfrom = ["PACS"]', "routes"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused_in_words(tmp_path: Path, rule: str, words: str) -> None:
    (tmp_path / "workbench.toml").write_text(f"[[routes]]\n{rule}\n\n{PACS}")
    with pytest.raises(SettingsError, match=words):
        Settings.load(tmp_path)


def test_rules_stand_in_the_file_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text(
        'deidentifier = "tools:anonymous"\n\n'
        '[[routes]]\nname = "keep"\nsent_by = ["PACS"]\nstore = true\n\n'
        '[[routes]]\nname = "on"\nwhen = "stable"\nforward = ["PACS"]\nhours = "20:00-06:00"\n\n' + PACS
    )
    settings = Settings.load(tmp_path)
    assert settings.routes == (
        Rule("keep", sent_by=("PACS",), store=True),
        Rule("on", when="stable", forward=("PACS",), hours="20:00-06:00"),  # type: ignore[arg-type]
    )


def test_a_bench_without_events_says_what_makes_them(tmp_path: Path) -> None:
    with workbench.open(tmp_path / "bench", stable_seconds=90.0) as bench:
        said = bench.events().as_text()
    assert said.startswith(
        "0 events · a series is stable when nothing more of it came for 90 s (stable_seconds);"
    )
