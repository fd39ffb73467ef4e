"""What a receipt shows to a person."""

from datetime import UTC, datetime, timedelta

from catalog.records import Delivery, Stage
from workbench.pacs.receipt import Receipt

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def delivery(state: str, *stages: tuple[str, str], reason: str = "", node: str = "PACS") -> Delivery:
    return Delivery(
        delivery=1,
        sop_instance_uid="1.2.826.0.1.3680043.71",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
        node=node,
        path="/x",
        digest="d",
        state=state,
        reason=reason,
        attempts=1,
        next_attempt=NOW + timedelta(minutes=1),
        stages=tuple(Stage(name, NOW, text) for name, text in stages),
    )


def test_a_confirmed_receipt_lists_every_stage() -> None:
    text = str(Receipt.of(delivery("confirmed", ("queued", ""), ("stored", "stored (status 0000)"))))
    lines = text.splitlines()
    assert lines[0] == "SEG 1.2.826…3.71 to PACS: confirmed"
    assert lines[1].split()[0] == "queued"
    assert lines[2].endswith("stored (status 0000)")
    assert lines[-1] == "  next       nothing: the node holds the same object"


def test_a_waiting_receipt_says_when_it_is_due() -> None:
    receipt = Receipt.of(delivery("queued", ("postponed", "no answer"), reason="no answer"))
    due = (NOW + timedelta(minutes=1)).astimezone()
    assert f"due again at {due:%d %b %H:%M}" in receipt.next_step


def test_a_failed_receipt_is_red_where_it_stopped() -> None:
    html = Receipt.of(delivery("failed", ("queued", ""), ("failed", "refused")))._repr_html_()
    queued, failed = html.split("failed</td>")[0], html.split("failed</td>")[1]
    assert html.count("color:#c62828") == 1
    assert "color:#c62828" in queued.rsplit("<tr", 1)[1]
    assert "refused" in failed


def test_a_receipt_that_recovered_is_not_red() -> None:
    html = Receipt.of(delivery("confirmed", ("postponed", "down"), ("confirmed", "identical")))._repr_html_()
    assert "color:#c62828" not in html


def test_what_a_node_is_called_or_answers_is_never_markup() -> None:
    html = Receipt.of(
        delivery("failed", ("failed", "<script>alert(1)</script>"), node="<img src=x onerror=alert(1)>")
    )._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_another_sop_class_is_called_by_its_name() -> None:
    ct = delivery("queued")
    ct = Delivery(
        **{name: getattr(ct, name) for name in ct.__slots__} | {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2"}
    )
    assert Receipt.of(ct).kind == "CT Image"


def test_times_are_those_of_the_last_of_each_stage() -> None:
    receipt = Receipt.of(delivery("stored", ("queued", ""), ("stored", "")))
    assert receipt.times == {"queued": NOW, "stored": NOW}
