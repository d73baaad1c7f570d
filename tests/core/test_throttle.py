"""Who may go on trying tokens."""

from __future__ import annotations

import random

import pytest

from napcore.core.throttle import ADDRESSES, GUESSES, LOCAL_GUESSES, PERIOD, Throttle, is_loopback, network

FAR = "192.0.2.7"


def throttle() -> Throttle:
    return Throttle(random.Random(1))


def guess(limits: Throttle, address: str, count: int, now: float = 0.0, first: int = 0) -> list[bool]:
    return [limits.wrong(address, f"guess-{number}", now) > 0 for number in range(first, first + count)]


def test_a_few_wrong_tokens_are_mistakes() -> None:
    limits = throttle()
    assert not any(guess(limits, FAR, GUESSES))
    assert limits.shut_out(FAR, 0.0) == 0.0


def test_more_of_them_shut_an_address_out_for_a_minute_or_more() -> None:
    limits = throttle()
    assert guess(limits, FAR, GUESSES + 1) == [False] * GUESSES + [True]
    remaining = limits.shut_out(FAR, 0.0)
    assert PERIOD <= remaining <= 1.5 * PERIOD
    assert limits.shut_out(FAR, remaining - 0.1) == pytest.approx(0.1)
    assert limits.shut_out(FAR, remaining) == 0.0
    assert limits.shut_out("192.0.2.8", 0.0) == 0.0


def test_how_long_is_not_the_same_for_everybody() -> None:
    limits = Throttle(random.Random(2))
    for number in range(8):
        guess(limits, f"192.0.2.{number}", GUESSES + 1)
    assert len({limits.shut_out(f"192.0.2.{number}", 0.0) for number in range(8)}) == 8


def test_guesses_while_shut_out_do_not_make_it_longer() -> None:
    limits = throttle()
    guess(limits, FAR, GUESSES + 1)
    before = limits.shut_out(FAR, 1.0)
    assert all(guess(limits, FAR, 100, now=1.0, first=50))
    assert limits.shut_out(FAR, 1.0) == before


def test_the_same_wrong_token_again_and_again_is_one_guess() -> None:
    limits = throttle()
    for now in range(0, 600, 3):
        assert limits.wrong(FAR, "last year's token", float(now)) == 0.0


def test_guesses_are_forgotten_after_a_minute() -> None:
    limits = throttle()
    for number in range(60):
        assert limits.wrong(FAR, f"guess-{number}", number * (PERIOD / GUESSES + 1.0)) == 0.0


def test_a_new_round_begins_after_being_shut_out() -> None:
    limits = throttle()
    guess(limits, FAR, GUESSES + 1)
    later = limits.shut_out(FAR, 0.0)
    assert guess(limits, FAR, GUESSES + 1, now=later, first=100) == [False] * GUESSES + [True]


@pytest.mark.parametrize("local", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", ""])
def test_on_this_machine_nobody_can_shut_the_others_out(local: str) -> None:
    limits = throttle()
    assert guess(limits, local, LOCAL_GUESSES + 1) == [False] * LOCAL_GUESSES + [True]
    assert limits.shut_out(local, 0.0) == 0.0


def test_one_customers_ipv6_addresses_count_as_one() -> None:
    limits = throttle()
    for number in range(GUESSES + 1):
        limits.wrong(f"2001:db8:1:2::{number:x}", f"guess-{number}", 0.0)
    assert limits.shut_out("2001:db8:1:2:ffff::1", 0.0) > 0
    assert limits.shut_out("2001:db8:1:3::1", 0.0) == 0.0


def test_what_it_remembers_is_bounded() -> None:
    limits = throttle()
    for number in range(ADDRESSES + 500):
        limits.wrong(f"10.0.{number >> 8}.{number & 255}", "guess", 0.0)
    assert len(limits) == ADDRESSES
    for number in range(ADDRESSES + 500):
        guess(limits, f"10.1.{number >> 8}.{number & 255}", GUESSES + 1)
    assert len(limits) <= 2 * ADDRESSES
    # Those that were shut out last still are.
    assert limits.shut_out(f"10.1.{(ADDRESSES + 499) >> 8}.{(ADDRESSES + 499) & 255}", 1.0) > 0


def test_refusals_are_counted() -> None:
    limits = throttle()
    guess(limits, FAR, GUESSES + 3)
    limits.shut_out(FAR, 1.0)
    assert limits.refused == 4


def test_tokens_are_not_kept() -> None:
    limits = throttle()
    limits.wrong(FAR, "a-secret-with-one-typo", 0.0)
    assert "typo" not in repr(vars(limits))


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::1"),
        ("not an address", "not an address"),
    ],
)
def test_networks(address: str, group: str) -> None:
    assert network(address) == group


def test_what_is_this_machine() -> None:
    assert [is_loopback(address) for address in ("127.0.0.1", "::1", "", "::ffff:127.0.0.1", "192.0.2.1", "x")] == [
        True,
        True,
        True,
        True,
        False,
        False,
    ]
