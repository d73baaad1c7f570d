from __future__ import annotations

from typing import Any

from napcore.net.accounts import ACCOUNTS, Accounts


class Link:
    """As much of an upstream link as counts here."""

    def __init__(self, calls: bool = True) -> None:
        self.calls = calls
        self.state = "connected"


def test_accounts_stay_in_the_order_of_their_first_sign() -> None:
    accounts = Accounts()
    assert (len(accounts), accounts.first, list(accounts)) == (0, None, [])
    link: Any = Link()
    assert [accounts.see(self_id, link) for self_id in (7, 5, 7, 6)] == [True, True, False, True]
    assert (len(accounts), accounts.first, list(accounts)) == (3, 7, [7, 5, 6])
    assert 5 in accounts
    assert 8 not in accounts
    accounts.lose(link)
    assert list(accounts) == [7, 5, 6]


def test_the_newest_link_that_takes_calls_serves_them() -> None:
    accounts = Accounts()
    first: Any = Link()
    second: Any = Link()
    events: Any = Link(calls=False)
    assert accounts.link(5) is None
    for link in (first, second, events):
        accounts.see(5, link)
    assert accounts.link(5) is second
    accounts.see(5, first)
    assert accounts.link(5) is second
    accounts.lose(second)
    assert accounts.link(5) is first
    accounts.lose(first)
    assert accounts.link(5) is None
    assert accounts.online(5)
    accounts.lose(events)
    assert not accounts.online(5)


def test_an_account_is_online_while_it_is_served_and_its_upstream_does_not_deny_it() -> None:
    accounts = Accounts()
    link: Any = Link()
    accounts.see(5, link)
    assert accounts.statistics() == ((5, True, "online"),)
    accounts.report(5, online=False)
    assert accounts.statistics() == ((5, False, "offline"),)
    accounts.report(5, online=True)
    assert accounts.online(5)
    accounts.report(5, online=False)
    accounts.lose(link)
    # A new link is a new start.
    again: Any = Link()
    accounts.see(5, again)
    assert accounts.online(5)


def test_an_account_of_this_process_is_online_without_a_link() -> None:
    accounts = Accounts()
    assert accounts.see(5, None)
    assert not accounts.see(5, None)
    assert accounts.online(5)
    assert accounts.link(5) is None
    assert not accounts.online(6)


def test_what_is_published_here_does_not_keep_an_upstreams_account_online() -> None:
    accounts = Accounts()
    link: Any = Link()
    accounts.see(5, None)
    accounts.see(5, link)
    accounts.see(5, None)
    assert accounts.online(5)
    accounts.lose(link)
    accounts.see(5, None)
    assert not accounts.online(5)


def test_what_is_reported_of_an_unknown_account_is_not_kept() -> None:
    accounts = Accounts()
    accounts.report(5, False)
    assert not accounts.offline


def test_accounts_are_bounded() -> None:
    accounts = Accounts()
    for self_id in range(1, ACCOUNTS + 1):
        assert not accounts.full
        accounts.see(self_id, None)
    assert accounts.full
