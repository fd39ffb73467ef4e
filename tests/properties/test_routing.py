"""Whatever the rules and the object: nothing goes back, nothing twice, and no identity where it must not."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from catalog.stability import OpenSeries, Stable, Watched, judge
from workbench.routing.rules import Action, Received, Rule, When, decide, explain, holding

NODES = st.sampled_from(["A", "B", "C"])
SOME = st.lists(NODES, max_size=3, unique=True).map(tuple)
HOURS = st.sampled_from(["", "", "20:00-06:00", "06:00-20:00"])


@st.composite
def tables(draw: st.DrawFn) -> list[Rule]:
    """Rules of three nodes, each of which may do anything that a rule can."""
    rules = []
    for number in range(draw(st.integers(0, 6))):
        forward = draw(SOME)
        store = not forward and draw(st.booleans())
        rules.append(
            Rule(
                f"rule {number}",
                when=draw(st.sampled_from(When)),
                sent_by=draw(SOME),
                where=draw(st.sampled_from(["", "Modality == 'CT'"])),
                hours=draw(HOURS),
                forward=forward,
                deidentify=bool(forward) and draw(st.booleans()),
                notify=draw(st.sampled_from(["", "notices"])) or ("" if forward or store else "notices"),
                store=store,
            )
        )
    return rules


@st.composite
def objects(draw: st.DrawFn) -> Received:
    came_from = draw(st.sampled_from(["", "A", "B", "C"]))
    return Received(
        came_from,
        draw(st.sampled_from(["", "A", "SCAN"])),
        "WORKBENCH",
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 2000))),
        frozenset(f"rule {number}" for number in draw(st.sets(st.integers(0, 6)))),
        frozenset({*draw(SOME), *([came_from] if came_from else [])}),
        draw(st.booleans()),
    )


GOING = (Action.FORWARD, Action.DEIDENTIFY)


@given(tables(), objects())
def test_nothing_goes_to_a_node_twice_or_to_one_where_it_was(rules: list[Rule], received: Received) -> None:
    steps = decide(rules, received)
    to = [each.to for each in steps if each.action in (*GOING, Action.HOLD)]
    assert len(to) == len(set(to))
    going = [each.to for each in steps if each.action in GOING]
    assert received.was_at.isdisjoint(going)
    assert not (received.made_here and going)


@given(tables(), objects())
def test_where_one_rule_that_holds_demands_it_nothing_goes_out_with_an_identity(
    rules: list[Rule], received: Received
) -> None:
    demanding = {node for rule in holding(rules, received) if rule.deidentify for node in rule.forward}
    for step in decide(rules, received):
        if step.to in demanding:
            assert step.action is not Action.FORWARD


@given(tables(), objects())
def test_every_destination_of_a_rule_that_holds_is_served_or_held_by_one_of_them(
    rules: list[Rule], received: Received
) -> None:
    wanted = {node for rule in holding(rules, received) for node in rule.forward}
    steps = decide(rules, received)
    assert {each.to for each in steps if each.action in (*GOING, Action.HOLD)} == wanted
    names = {rule.name: rule for rule in rules}
    for step in steps:
        assert step.when is names[step.rule].when


@given(tables(), objects())
def test_below_a_rule_that_stores_nothing_is_asked(rules: list[Rule], received: Received) -> None:
    hold = holding(rules, received)
    stores = [rule.name for rule in hold if rule.store]
    assert len(stores) <= 1
    assert not stores or hold[-1].name == stores[0]


@given(tables(), objects(), st.integers(0, 6))
def test_a_rule_more_at_the_end_takes_no_destination_away(
    rules: list[Rule], received: Received, number: int
) -> None:
    served = {each.to for each in decide(rules, received) if each.action in GOING}
    more = [*rules, Rule("more", forward=("A", "B"), deidentify=number > 3)]
    assert served <= {each.to for each in decide(more, received) if each.action in GOING}


@given(tables(), objects())
def test_what_is_explained_is_what_is_done(rules: list[Rule], received: Received) -> None:
    said = explain(rules, received)
    assert [each.rule for each in said] == [rule.name for rule in rules]
    assert {each.rule for each in said if each.fits} == {rule.name for rule in holding(rules, received)}
    assert {each.rule for each in decide(rules, received)} <= {each.rule for each in said if each.fits}


@given(
    st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=30),
    st.floats(1, 30),
)
def test_a_series_is_stable_once_nothing_came_for_so_long_and_not_before(
    looks: list[tuple[float, bool]], quiet: float
) -> None:
    now, last, came, watched = 0.0, 1, 0.0, None
    for after, more in looks:
        now += after
        if more:
            last, came = last + 1, now
        said = judge(OpenSeries("1.2.3", last, 1), watched, now, quiet)
        if isinstance(said, Stable):
            assert now - came >= quiet
            return
        assert watched is None or watched.last != last or now - watched.since < quiet
        watched = said


@given(st.integers(0, 500), st.integers(0, 500))
def test_what_its_source_told_of_makes_it_stable_at_once(told: int, here: int) -> None:
    said = judge(OpenSeries("1.2.3", 7, here, told, "pacs://PACS"), None, 0.0, 60)
    if here >= told:
        assert said == Stable(f"the {told:,} instances that pacs://PACS told of are here")
    else:
        assert said == Watched(7, 0.0)
