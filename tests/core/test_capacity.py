"""Places for connections."""

from __future__ import annotations

import pytest

from napcore.core.capacity import GRACE, Capacity


def test_up_to_the_bound_everybody_waits() -> None:
    places = Capacity(handshakes=3)
    assert [places.arrive(number, 0.0) for number in range(3)] == [(True, None)] * 3


def test_who_has_been_silent_longest_makes_room() -> None:
    places = Capacity(handshakes=3)
    for number in range(3):
        places.arrive(number, number / 8)
    assert places.arrive("new", GRACE) == (True, 0)
    assert places.arrive("newer", GRACE + 0.125) == (True, 1)
    assert places.refused == 2


def test_but_not_before_it_has_had_time_to_speak() -> None:
    places = Capacity(handshakes=3)
    for number in range(3):
        places.arrive(number, 0.0)
    assert places.arrive("new", GRACE - 0.01) == (False, None)
    assert places.refused == 1
    places.leave("new")
    assert places.arrive("again", GRACE) == (True, 0)


def test_who_has_spoken_holds_no_place_among_the_silent() -> None:
    places = Capacity(handshakes=1)
    places.arrive("a", 0.0)
    assert places.link("a", "127.0.0.1", upstream=False) is None
    assert places.arrive("b", 0.0) == (True, None)


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
def test_links_are_bounded_and_upstreams_still_get_in(address: str) -> None:
    places = Capacity(connections=5, per_network=100)
    for number in range(5):
        assert places.link(number, address, upstream=False) is None
    assert places.link("one more", address, upstream=False) == "there are 5 connections already"
    assert places.link("upstream", address, upstream=True) is None
    places.leave("one more")
    places.leave(0)
    assert places.link("one more", address, upstream=False) is None


def test_one_far_address_cannot_take_all_of_them() -> None:
    places = Capacity(per_network=2)
    assert places.link(1, "2001:db8::1", upstream=False) is None
    assert places.link(2, "2001:db8::2", upstream=False) is None
    assert places.link(3, "2001:db8::3", upstream=False) == "there are 2 connections from this address already"
    assert places.link(4, "2001:db8:0:1::3", upstream=False) is None
    places.leave(3)
    places.leave(1)
    assert places.link(5, "2001:db8::5", upstream=False) is None


def test_this_machine_may() -> None:
    places = Capacity(per_network=2)
    assert [places.link(number, "127.0.0.1", upstream=False) for number in range(10)] == [None] * 10


def test_leaving_twice_or_unknown_is_nothing() -> None:
    places = Capacity()
    places.leave("nobody")
    places.arrive("a", 0.0)
    places.link("a", "192.0.2.1", upstream=False)
    places.leave("a")
    places.leave("a")
    assert places.link("b", "192.0.2.1", upstream=False) is None
