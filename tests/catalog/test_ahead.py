"""One item is made in a thread while the one before is used; nothing is made that nobody began."""

from collections.abc import Iterator
from threading import Event, current_thread, main_thread

import pytest

from catalog.ahead import Ahead


def test_items_come_in_their_order_whether_begun_or_not() -> None:
    with Ahead(range(5)) as ahead:
        for expected, item in enumerate(ahead):
            assert item == expected
            if item % 2:
                ahead.begin()
                ahead.begin()


def test_the_next_is_made_elsewhere_while_this_one_is_used() -> None:
    used, made = Event(), Event()

    def items() -> Iterator[bool]:
        yield current_thread() is not main_thread()
        assert used.wait(10)
        made.set()
        yield current_thread() is not main_thread()

    with Ahead(items()) as ahead:
        assert next(ahead)
        ahead.begin()
        used.set()
        assert made.wait(10)
        assert next(ahead)


def test_nothing_is_made_before_it_is_begun_or_wanted() -> None:
    left = iter(range(9))
    with Ahead(left) as ahead:
        assert next(ahead) == 0
    assert next(left) == 1


def test_an_error_is_raised_where_its_item_is_wanted() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    with Ahead(items()) as ahead:
        assert next(ahead) == 1
        ahead.begin()
        with pytest.raises(ValueError, match="the second"):
            next(ahead)
