"""Places for connections."""

from __future__ import annotations

import pytest

from napcore.core.capacity import GRACE, STORM, Capacity


def test_up_to_the_bound_everybody_waits() -> None:
    places = Capacity[int](handshakes=3)
    assert [places.arrive(number, 0.0) for number in range(3)] == [(True, [])] * 3


def test_who_has_been_silent_longest_makes_room() -> None:
    places = Capacity[str](handshakes=3)
    for number in range(3):
        places.arrive(str(number), number / 4)
    assert places.arrive("new", GRACE) == (True, ["0"])
    assert places.arrive("newer", GRACE + 0.25) == (True, ["1"])
    assert places.refused == 2


def test_but_not_before_it_has_had_time_to_speak() -> None:
    places = Capacity[str](handshakes=3)
    for number in range(3):
        places.arrive(str(number), 0.0)
    assert places.arrive("new", GRACE - 0.01) == (True, [])
    assert places.arrive("newer", GRACE) == (True, ["0", "1"])
    places.leave("2")
    assert places.arrive("again", GRACE) == (True, [])


def test_who_has_begun_to_speak_gets_as_long_again_once() -> None:
    places: Capacity[str] = Capacity(handshakes=2)
    places.arrive("silent", 0.0)
    places.arrive("dribbles", 0.0)
    places.heard("dribbles", GRACE / 2)
    assert places.arrive("c", GRACE) == (True, ["silent"])
    places.heard("dribbles", GRACE)
    places.heard("nobody", GRACE)
    assert places.arrive("d", 1.25 * GRACE) == (True, [])
    assert places.arrive("e", 1.5 * GRACE) == (True, ["dribbles"])


def test_a_storm_is_let_in_up_to_a_bound() -> None:
    places = Capacity[int](handshakes=2)
    assert [places.arrive(number, 0.0)[0] for number in range(2 * STORM + 2)] == [True] * (2 * STORM) + [False] * 2
    assert places.refused == 2
    assert places.arrive(100, GRACE) == (True, list(range(2 * STORM - 1)))


def test_who_has_spoken_holds_no_place_among_the_silent() -> None:
    places = Capacity[str](handshakes=1)
    places.arrive("a", 0.0)
    assert places.link("a", "127.0.0.1", upstream=False) is None
    assert places.arrive("b", 0.0) == (True, [])


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
def test_links_are_bounded_and_upstreams_still_get_in(address: str) -> None:
    places: Capacity[object] = Capacity(connections=5, per_network=100)
    for number in range(5):
        assert places.link(number, address, upstream=False) is None
    assert places.link("one more", address, upstream=False) == "there are 5 connections already"
    assert places.link("upstream", address, upstream=True) is None
    places.leave("one more")
    places.leave(0)
    assert places.link("one more", address, upstream=False) is None


def test_one_far_address_cannot_take_all_of_them() -> None:
    places: Capacity[object] = Capacity(per_network=2)
    assert places.link(1, "2001:db8::1", upstream=False) is None
    assert places.link(2, "2001:db8::2", upstream=False) is None
    assert places.link(3, "2001:db8::3", upstream=False) == "there are 2 connections from this address already"
    assert places.link(4, "2001:db8:0:1::3", upstream=False) is None
    places.leave(3)
    places.leave(1)
    assert places.link(5, "2001:db8::5", upstream=False) is None


def test_this_machine_may() -> None:
    places: Capacity[object] = Capacity(per_network=2)
    assert [places.link(number, "127.0.0.1", upstream=False) for number in range(10)] == [None] * 10


def test_leaving_twice_or_unknown_is_nothing() -> None:
    places: Capacity[object] = Capacity()
    places.leave("nobody")
    places.arrive("a", 0.0)
    places.link("a", "192.0.2.1", upstream=False)
    places.leave("a")
    places.leave("a")
    assert places.link("b", "192.0.2.1", upstream=False) is None
