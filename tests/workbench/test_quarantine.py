"""What was received and refused: a table, a line of the doctor, and a way out; no patient data."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catalog.arrivals import Claim
from catalog.errors import QuestionError
from catalog.intake import Intake
from catalog.receptions import Sender
from pipelines import phantoms
from workbench.cli import app
from workbench.doctor import examine
from workbench.session import Bench

NAME = "Geheim^Gustav"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def bench(any_bench: Bench, tmp_path: Path) -> Bench:
    """A bench that was sent a cut file by a node, something else by a stranger, and a whole file."""
    made = phantoms.write_series(tmp_path / "ct", planes=3, patient_name=NAME)
    contents = [path.read_bytes() for path in made.paths]
    scanner, stranger = Sender("CT1", "CT1_AE", "WORKBENCH"), Sender("", "STRANGER", "WORKBENCH")
    given = [(contents[0][:-9], scanner), (b"no DICOM", stranger), (contents[2], scanner)]
    with Intake(any_bench.catalog, any_bench.settings.received_folder) as intake:
        for content, sender in given:
            with intake.incoming() as incoming:
                incoming.write(content)
                intake.take(incoming, Claim(sender=sender))
    return any_bench


def test_what_was_refused_is_listed_with_sender_class_reason_and_place(bench: Bench) -> None:
    last, first = bench.quarantine()
    assert (first.node, first.calling_ae_title, first.sop_class_uid) == ("CT1", "CT1_AE", CT)
    assert "is not whole" in first.reason
    assert (last.node, last.calling_ae_title, last.sop_class_uid) == ("", "STRANGER", "")
    assert last.at is not None
    assert first.at is not None
    assert first.at <= last.at <= datetime.now(UTC)
    assert Path(first.path).stat().st_size == first.bytes
    shown = bench.quarantine().as_text()
    for words in ("CT1", "STRANGER", "CT Image Storage", "is not whole", "2 objects"):
        assert words in shown
    assert "CT Image Storage" in bench.quarantine()._repr_html_()
    assert list(bench.quarantine().to_pandas()["node"]) == ["", "CT1"]
    said = CliRunner().invoke(app, ["quarantine", "--home", str(bench.settings.home)])
    assert said.exit_code == 0
    assert "STRANGER" in said.stdout
    for text in (shown, bench.quarantine()._repr_html_(), said.stdout):
        assert NAME.partition("^")[0] not in text


def test_a_short_list_says_that_there_are_more(bench: Bench) -> None:
    assert len(bench.quarantine(limit=1)) == 1
    assert "1 more before them" in bench.quarantine(limit=1).as_text()
    with pytest.raises(QuestionError, match="limit is a whole number from 1"):
        bench.quarantine(limit=0)


def test_the_doctor_counts_it_until_somebody_has_cleared_it_away(bench: Bench) -> None:
    home = bench.settings.home
    found = {each.subject: each for each in examine(home, now=datetime.now(UTC))}["quarantine"]
    assert found.state == "mend"
    assert found.said.startswith("2 objects")
    assert "workbench quarantine" in found.mend
    for each in bench.quarantine():
        Path(each.path).unlink()
    bench.index(bench.settings.received_folder / "quarantine", quiet=True)
    assert len(bench.quarantine()) == 0
    found = {each.subject: each for each in examine(home, now=datetime.now(UTC))}["quarantine"]
    assert found.state == "fine"
