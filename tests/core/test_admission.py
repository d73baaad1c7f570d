"""Who may come in through the listening port, and as what: the whole table."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from napcore.core.admission import Admitted, Door, Head, Refused, admit

LISTEN, UPSTREAM, OWN = "listen-token-0001", "upstream-token-02", "alices-own-token-3"

DOOR = Door(LISTEN)
TOKENS: Mapping[str, str | None] = {"alice": OWN, "bob": None}
"""Two declared clients: alice has a token of her own."""

NEEDED = Refused(401, "a token is needed: Authorization: Bearer <token>, or ?access_token=")
WRONG = Refused(403, "wrong token", guess=True)
NO_PATH = Refused(404, "no such path; clients connect to /, /event, /api or /c/<name>, upstreams send X-Self-ID")
NO_NAME = Refused(404, "a client's name is 1 to 64 letters, digits, '_', '.' or '-'")
NO_SELF_ID = Refused(400, "self_id must be a positive integer")
NO_X_SELF_ID = Refused(400, "X-Self-ID must be one positive integer")
NO_ORIGIN = Refused(403, "pages of this Origin may not connect; list it in allowed_origins if they should")
OWN_TOKEN = Refused(403, "client 'alice' has a token of its own; use that one")


def knock(
    target: str = "/",
    token: str | None = None,
    *,
    door: Door = DOOR,
    tokens: Mapping[str, str | None] = TOKENS,
    **headers: str | list[str],
) -> Admitted | Refused:
    """Decide about a handshake; headers by their names with underscores."""
    given = {name.replace("_", "-"): [value] if isinstance(value, str) else value for name, value in headers.items()}
    if token is not None:
        given["authorization"] = [f"Bearer {token}"]
    return admit(door, Head(target, {"host": ["127.0.0.1:6710"], **given}), tokens)


# (4) The listen token and a plain path: anonymous.


@pytest.mark.parametrize("target", ["/", "", "/event", "/event/", "//", "/?x=1", "/event?x=/api"])
def test_anonymous_clients(target: str) -> None:
    assert knock(target, LISTEN) == Admitted("client", None, None, events=True, calls=True)


@pytest.mark.parametrize("target", ["/api", "/api/", "/api//", "/api?self_id="])
def test_api_links_get_no_events(target: str) -> None:
    assert knock(target, LISTEN) == Admitted("client", None, None, events=False, calls=True)


@pytest.mark.parametrize("target", ["/", "/event", "/api", "/c/bob", "/c/carol"])
def test_the_listen_token_is_needed(target: str) -> None:
    assert knock(target) == NEEDED
    assert knock(target, "listen-token-0002") == WRONG
    assert knock(target, UPSTREAM, door=Door(LISTEN, UPSTREAM)) == WRONG


@pytest.mark.parametrize(
    "target", ["/x", "/c", "/c/", "/events", "/api/x", "/onebot/v11/ws", "/%61pi", "/API", "/event%2F", "*"]
)
def test_other_paths_do_not_exist(target: str) -> None:
    assert knock(target, LISTEN) == NO_PATH


def test_what_exists_is_told_to_token_holders_only() -> None:
    assert knock("/x") == NEEDED
    assert knock("/c/alice") == NEEDED
    assert knock("/c/a b", "nonsense") == WRONG


def test_without_a_listen_token_everybody_is_let_in() -> None:
    door = Door()
    assert knock("/", door=door) == Admitted("client", None)
    assert knock("/", "whatever", door=door) == Admitted("client", None)
    assert knock("/c/bob", door=door) == Admitted("client", None, "bob")
    assert knock("/", door=door, x_self_id="10001") == Admitted("upstream", 10001)
    assert knock("/x", door=door) == NO_PATH


# (3) The listen token and a name.


@pytest.mark.parametrize("name", ["bob", "carol", "ws-1", "A.b_c-9", "x" * 64, "api", "..", "c"])
def test_named_clients(name: str) -> None:
    assert knock(f"/c/{name}", LISTEN) == Admitted("client", None, name, events=True, calls=True)
    assert knock(f"/c/{name}/?a=b", LISTEN) == Admitted("client", None, name)


@pytest.mark.parametrize("name", ["x" * 65, "a b", "a/b", "bob/api", "%62ob", "a%2Fb", "机器人", "a:b", "a@b"])
def test_what_is_no_name(name: str) -> None:
    assert knock(f"/c/{name}", LISTEN) == NO_NAME


def test_a_name_with_a_token_of_its_own_is_not_the_listen_tokens() -> None:
    assert knock("/c/alice", LISTEN) == OWN_TOKEN
    assert knock("/c/alice/", LISTEN) == OWN_TOKEN
    assert knock("/c/alice", door=Door()) == OWN_TOKEN
    assert knock("/c/Alice", LISTEN) == Admitted("client", None, "Alice"), "names differ by case"


# (2) A client's own token.


@pytest.mark.parametrize("target", ["/", "/event", "/c/alice", "/c/bob", "/x", "/c/a b", "/onebot/v11/ws", "/api/x"])
def test_a_clients_own_token_makes_that_client_on_any_path(target: str) -> None:
    assert knock(target, OWN) == Admitted("client", None, "alice", events=True, calls=True)
    assert knock(target, OWN, door=Door()) == Admitted("client", None, "alice")


@pytest.mark.parametrize("target", ["/api", "/api/"])
def test_a_clients_own_token_on_api(target: str) -> None:
    assert knock(target, OWN) == Admitted("client", None, "alice", events=False, calls=True)


def test_own_tokens_are_told_apart() -> None:
    tokens = {"one": "token-of-one-0001", "two": "token-of-two-0002", "three": None}
    assert knock("/", "token-of-one-0001", tokens=tokens) == Admitted("client", None, "one")
    assert knock("/", "token-of-two-0002", tokens=tokens) == Admitted("client", None, "two")
    assert knock("/", "token-of-two-000", tokens=tokens) == WRONG
    assert knock("/", "token-of-two-00022", tokens=tokens) == WRONG


def test_an_own_token_that_equals_the_listen_token() -> None:
    assert knock("/c/bob", LISTEN, tokens={"alice": LISTEN, "bob": None}) == Admitted("client", None, "alice")


def test_a_declared_client_without_a_token_has_no_empty_token() -> None:
    assert knock("/", "", tokens={"bob": None}) == NEEDED
    assert knock("/?access_token=", tokens={"bob": ""}) == NEEDED


# (1) X-Self-ID: an upstream.


@pytest.mark.parametrize("target", ["/", "/event", "/api", "/c/alice", "/onebot/v11/ws", "/?self_id=x"])
def test_upstreams_on_any_path(target: str) -> None:
    assert knock(target, LISTEN, x_self_id="10001") == Admitted("upstream", 10001, None, events=True, calls=True)


def test_upstreams_show_the_upstream_token() -> None:
    door = Door(LISTEN, UPSTREAM)
    assert knock("/", UPSTREAM, door=door, x_self_id="10001") == Admitted("upstream", 10001)
    assert knock("/", LISTEN, door=door, x_self_id="10001") == WRONG
    assert knock("/", door=door, x_self_id="10001") == NEEDED
    assert knock("/", UPSTREAM, door=Door(None, UPSTREAM), x_self_id="10001") == Admitted("upstream", 10001)
    assert knock("/", door=Door(None, UPSTREAM), x_self_id="10001") == NEEDED
    assert knock("/", door=Door(None, UPSTREAM)) == Admitted("client", None)


def test_a_clients_own_token_never_admits_an_upstream() -> None:
    assert knock("/c/alice", OWN, x_self_id="10001") == WRONG
    assert knock("/", OWN, door=Door(LISTEN, UPSTREAM), x_self_id="10001") == WRONG


@pytest.mark.parametrize("value", ["", "0", "-1", "abc", "1.5", "9223372036854775808", "10001, 10002", "0x1"])
def test_x_self_id_is_a_positive_integer(value: str) -> None:
    assert knock("/", LISTEN, x_self_id=value) == NO_X_SELF_ID


@pytest.mark.parametrize("values", [["10001", "10001"], ["10001", "10002"], ["10001", ""], []])
def test_x_self_id_is_given_once(values: list[str]) -> None:
    assert knock("/", LISTEN, x_self_id=values) == NO_X_SELF_ID


def test_x_self_id_may_be_padded_and_large() -> None:
    assert knock("/", LISTEN, x_self_id=" 10001 ") == Admitted("upstream", 10001)
    assert knock("/", LISTEN, x_self_id="9223372036854775807") == Admitted("upstream", (1 << 63) - 1)


@pytest.mark.parametrize(
    ("role", "events", "calls"),
    [
        ("Universal", True, True),
        ("universal", True, True),
        ("API", False, True),
        ("Api", False, True),
        (" api ", False, True),
        ("Event", True, False),
        ("event", True, False),
        ("", True, True),
        ("Something", True, True),
    ],
)
def test_roles(role: str, events: bool, calls: bool) -> None:
    expected = Admitted("upstream", 10001, None, events=events, calls=calls)
    assert knock("/", LISTEN, x_self_id="10001", x_client_role=role) == expected


@pytest.mark.parametrize("role", ["API", "Event"])
def test_roles_are_the_upstreams(role: str) -> None:
    assert knock("/", LISTEN, x_client_role=role) == Admitted("client", None, None, events=True, calls=True)


# Where a token is shown.


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Token", "token"])
def test_tokens_by_header(scheme: str) -> None:
    assert knock("/", authorization=f"{scheme} {LISTEN}") == Admitted("client", None)
    assert knock("/", authorization=f"  {scheme}   {LISTEN}  ") == Admitted("client", None)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Bearer    ", LISTEN, f"Basic {LISTEN}", f"Bearer{LISTEN}"])
def test_what_shows_no_token(value: str) -> None:
    assert knock("/", authorization=value) == NEEDED
    assert knock(f"/?access_token={LISTEN}", authorization=value) == Admitted("client", None)


def test_tokens_by_query() -> None:
    assert knock(f"/?access_token={LISTEN}") == Admitted("client", None)
    assert knock(f"/c/bob?x=1&access_token={LISTEN}&y=2") == Admitted("client", None, "bob")
    assert knock(f"/?access_token={OWN}") == Admitted("client", None, "alice")
    assert knock(f"/?access_token={LISTEN}", x_self_id="10001") == Admitted("upstream", 10001)
    assert knock("/?access_token=") == NEEDED
    assert knock("/?access_token") == NEEDED
    assert knock("/?access_token=wrong") == WRONG
    assert knock(f"/?Access_Token={LISTEN}") == NEEDED
    assert knock(f"/?access_token=wrong&access_token={LISTEN}") == Admitted("client", None), "the last one counts"


@pytest.mark.parametrize(
    ("token", "query"),
    [
        ("a+b/c=d&e f-0123456", "a%2Bb%2Fc%3Dd%26e%20f-0123456"),
        ("口令-0123456789ab", "%E5%8F%A3%E4%BB%A4-0123456789ab"),
    ],
)
def test_tokens_in_a_query_are_percent_encoded(token: str, query: str) -> None:
    assert knock(f"/?access_token={query}", door=Door(token)) == Admitted("client", None)


def test_the_header_comes_before_the_query() -> None:
    assert knock(f"/?access_token={LISTEN}", "wrong") == WRONG
    assert knock("/?access_token=wrong", LISTEN) == Admitted("client", None)


def test_the_first_header_that_shows_a_token_counts() -> None:
    assert knock("/", authorization=["Basic x", "Bearer ", f"Bearer {LISTEN}"]) == Admitted("client", None)
    assert knock("/", authorization=["Bearer wrong", f"Bearer {LISTEN}"]) == WRONG


def test_tokens_are_compared_as_a_whole() -> None:
    for token in (LISTEN[:-1], LISTEN + "x", LISTEN.upper(), "wörong", "\xff" * 17, LISTEN + "\0"):
        assert knock("/", token) == WRONG


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    tokens = {"one": "token-of-one-0001", "bob": None, "two": "token-of-two-0002"}
    knock("/", "token-of-one-0001", tokens=tokens)
    assert [other for _, other in compared] == [b"token-of-one-0001", b"token-of-two-0002"], (
        "all, though the first fits"
    )
    compared.clear()
    knock("/", LISTEN, tokens=tokens)
    assert compared[-1] == (LISTEN.encode(), LISTEN.encode())


# ?self_id=


@pytest.mark.parametrize("target", ["/", "/event", "/c/bob"])
def test_clients_choose_an_account(target: str) -> None:
    decision = knock(f"{target}?self_id=10001", LISTEN)
    assert isinstance(decision, Admitted)
    assert (decision.role, decision.self_id) == ("client", 10001)


def test_the_account_of_other_clients() -> None:
    assert knock("/api?self_id=10001", OWN) == Admitted("client", 10001, "alice", events=False)
    assert knock("/?self_id=10001&self_id=10002", LISTEN) == Admitted("client", 10002)
    assert knock("/?self_id=1%30001", LISTEN) == Admitted("client", 10001)
    assert knock("/?self_id=", LISTEN) == Admitted("client", None)


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1.5", "9223372036854775808"])
@pytest.mark.parametrize("token", [LISTEN, OWN])
def test_self_id_is_a_positive_integer(value: str, token: str) -> None:
    assert knock(f"/?self_id={value}", token) == NO_SELF_ID


# Origin and Host.


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:6710", "127.0.0.1", "localhost:6710", "localhost", "[::1]:6710", "192.168.1.20:6710", "[fe80::1]"],
)
def test_pages_of_this_machine_by_address(host: str) -> None:
    assert knock("/", LISTEN, host=host, origin=f"http://{host}") == Admitted("client", None)
    assert knock("/", LISTEN, door=Door(LISTEN, secure=True), host=host, origin=f"https://{host}") == Admitted(
        "client", None
    )


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:6710", "https://evil.example"),
        ("127.0.0.1:6710", "http://127.0.0.1"),
        ("127.0.0.1:6710", "http://127.0.0.1:6711"),
        ("127.0.0.1:6710", "https://127.0.0.1:6710"),
        ("127.0.0.1:6710", "http://localhost:6710"),
        ("127.0.0.1:6710", "null"),
        ("127.0.0.1:6710", ""),
        ("127.0.0.1:6710", "127.0.0.1:6710"),
        ("127.0.0.1:6710", "http://127.0.0.1:6710.evil.example"),
        ("evil.example:6710", "http://evil.example:6710"),
        ("localhost.evil.example", "http://localhost.evil.example"),
        ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example"),
        ("2130706433", "http://2130706433"),
        ("", "http://"),
        ("[", "http://["),
        ("[::1", "http://[::1"),
        ("127.0.0.1]", "http://127.0.0.1]"),
    ],
)
def test_other_pages_are_refused(host: str, origin: str) -> None:
    assert knock("/", LISTEN, host=host, origin=origin) == NO_ORIGIN
    assert knock("/", OWN, host=host, origin=origin) == NO_ORIGIN
    assert knock("/", door=Door(), host=host, origin=origin) == NO_ORIGIN
    assert knock("/", LISTEN, host=host, origin=origin, x_self_id="10001") == NO_ORIGIN


def test_pages_without_a_host() -> None:
    assert admit(DOOR, Head("/", {"origin": ["http://127.0.0.1"]}), TOKENS) == NO_ORIGIN


def test_allowed_origins() -> None:
    door = Door(LISTEN, allowed_origins=("https://bots.example", "http://bots.example:8080"))
    for origin in ("https://bots.example", " https://bots.example ", "http://bots.example:8080"):
        assert knock("/", LISTEN, door=door, host="relay.example", origin=origin) == Admitted("client", None)
    for origin in ("http://bots.example", "https://bots.example:8080", "https://bots.example.evil.example", "null"):
        assert knock("/", LISTEN, door=door, host="relay.example", origin=origin) == NO_ORIGIN
    assert knock("/", door=door, origin="https://bots.example") == NEEDED, "an Origin is no token"


def test_programs_send_no_origin() -> None:
    assert knock("/", LISTEN, host="relay.example:6710") == Admitted("client", None)


# Malformed heads, and what is shown of good ones.


@pytest.mark.parametrize("target", ["//[", "//[::1", "http://[/", "//a]b/"])
def test_a_malformed_target_is_refused(target: str) -> None:
    assert knock(target, LISTEN) == Refused(400, "the request target is malformed")


def test_an_absolute_target_is_read_like_a_path() -> None:
    assert knock("http://127.0.0.1:6710/c/bob?self_id=7", LISTEN) == Admitted("client", 7, "bob")


def test_no_refusal_repeats_a_token() -> None:
    for decision in (
        knock("/", "secret-0123456789"),
        knock("/?access_token=secret-0123456789"),
        knock("/x?access_token=secret-0123456789", door=Door("secret-0123456789")),
        knock("/?self_id=secret-0123456789", LISTEN),
        knock("/", LISTEN, x_self_id="secret-0123456789"),
        knock("/", LISTEN, origin="http://secret-0123456789"),
    ):
        assert isinstance(decision, Refused)
        assert "secret" not in decision.text


def test_repr_shows_no_token() -> None:
    shown = repr(Door(LISTEN, UPSTREAM, ("https://bots.example",), True))
    assert shown == "<Door allowed_origins=('https://bots.example',) secure=True>"
    head = Head(f"/?access_token={OWN}", {"authorization": [f"Bearer {LISTEN}"], "host": ["localhost"]})
    assert repr(head) == "<Head of 2 headers>"
