"""Tables: escaped HTML without script, aligned text, every field on request."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from workbench.reports import counted
from workbench.tables import SHOWN_ROWS, Table

COLUMNS = {"name": "name", "count": "count"}


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    count: int | None = None


def test_markup_in_a_value_is_text() -> None:
    table = Table([Row("<img src=x onerror=alert(1)>", 3)], COLUMNS, noun="rows <i>")
    html = table._repr_html_()
    assert "<img" not in html
    assert "<i>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


@given(st.text())
def test_no_value_adds_an_element_or_a_line(name: str) -> None:
    html = Table([Row(name)], COLUMNS, noun="rows")._repr_html_()
    plain = Table([Row("")], COLUMNS, noun="rows")._repr_html_()
    assert html.count("<") == plain.count("<")
    assert len(repr(Table([Row(name)], COLUMNS, noun="rows")).splitlines()) == 4


def test_terminal_codes_and_text_direction_marks_do_not_reach_a_terminal() -> None:
    shown = repr(Table([Row("\x1b[31mred\u202e")], COLUMNS, noun="rows"))
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_long_table_says_how_much_it_does_not_show() -> None:
    table = Table([Row(str(each), each) for each in range(SHOWN_ROWS + 3)], COLUMNS, noun="rows")
    assert "23 rows · 3 not shown" in repr(table)
    assert table._repr_html_().count("<tr>") == SHOWN_ROWS + 1
    assert len(table.to_pandas()) == SHOWN_ROWS + 3


def test_numbers_stand_to_the_right_and_uids_are_whole() -> None:
    uid = "1.2.826.0.1.3680043.9.4245.3115138630835728997848661150714813892"
    lines = repr(Table([Row(uid, 7), Row("b", 1000)], COLUMNS, noun="rows")).splitlines()
    assert uid in lines[2]
    assert lines[2].endswith("   7")
    assert lines[3].endswith("1000")


def test_a_slice_is_a_table() -> None:
    table = Table([Row("a"), Row("b"), Row("c")], COLUMNS, noun="rows")
    assert [each.name for each in table[1:]] == ["b", "c"]
    assert "2 rows" in repr(table[1:])


def test_one_of_a_kind_is_counted_as_one() -> None:
    assert repr(Table([Row("a")], COLUMNS, noun="arrays")).endswith("\n1 array")
    assert repr(Table([Row("a"), Row("b")], COLUMNS, noun="arrays")).endswith("\n2 arrays")
    assert repr(Table([Row("a")], COLUMNS, noun="series")).endswith("\n1 series")
    assert counted((1, "measurements"), (0, "without"), (2, "frames")) == "1 measurement · 2 frames"
