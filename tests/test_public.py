"""What a dependent sees: the names, their documentation, and what their repr does not show."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import json
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import napcore
import napcore.testing
from napcore.core.admission import Door
from napcore.core.config import Config
from napcore.core.stats import CallStatistics, ClientStatistics, RelayStatistics, WorkerStatistics
from napcore.net.client import RemoteClient
from napcore.net.crossing import ThreadSubscription
from napcore.net.handlers import Registration
from napcore.net.local import Account, Subscription
from napcore.net.upstream import Upstream
from napcore.net.watchdog import Watchdog
from napcore.net.ws_server import Listener

DOCUMENTED = {
    "events": {"Event", "Request", "Response", "Segment", "peek", "peek_frame", "peek_request"},
    "messages": {"convert_event", "format_message", "parse_message", "plain_text"},
    "in process": {"Filter", "Hub", "HubClient", "Outcome", "Policy", "Report", "TextIndex"},
    "over the network": {
        "Bot",
        "Config",
        "Relay",
        "RelayThread",
        "connect",
        "load_config",
        "release_turn",
        "run",
        "start_thread",
        "watch_loop",
    },
    "errors": {
        "ActionFailed",
        "AmbiguousAccount",
        "BadEvent",
        "CallError",
        "CallTimeout",
        "ConfigError",
        "ConfigProblem",
        "ConnectFailed",
        "ConnectionClosed",
        "NapcoreError",
        "NotSent",
        "OutcomeUnknown",
    },
    "about itself": {"COMPILED", "__version__"},
}
LAZY = {
    "Bot": "napcore.net.bot",
    "Config": "napcore.core.config",
    "Relay": "napcore.net.relay",
    "RelayThread": "napcore.net.thread",
    "connect": "napcore.net.bot",
    "load_config": "napcore.edge.settings",
    "release_turn": "napcore.net.workers",
    "run": "napcore.net.runner",
    "start_thread": "napcore.net.thread",
    "watch_loop": "napcore.net.watchdog",
}
REACHED = (
    Account,
    CallStatistics,
    ClientStatistics,
    Listener,
    RelayStatistics,
    Registration,
    RemoteClient,
    Subscription,
    ThreadSubscription,
    Upstream,
    Watchdog,
    WorkerStatistics,
)
"""Classes users meet as results of public methods."""

SECRET = "canary-secret-0123456789"
TEXT = "canary words of a message"


# Names.


def test_the_names_are_those_documented() -> None:
    names = [name for names in DOCUMENTED.values() for name in names]
    assert sorted(napcore.__all__) == sorted(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", sorted(napcore.__all__))
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(napcore, name) is not None
    assert name in dir(napcore)


@pytest.mark.parametrize("name", LAZY)
def test_lazy_names_are_the_rings_own(name: str) -> None:
    assert getattr(napcore, name) is getattr(importlib.import_module(LAZY[name]), name)
    assert vars(napcore)[name] is getattr(napcore, name), "found without __getattr__ from the second time on"


@pytest.mark.parametrize("name", napcore.testing.__all__)
def test_names_for_tests_can_be_had_and_are_documented(name: str) -> None:
    value = getattr(napcore.testing, name)
    assert vars(napcore.testing)[name] is value
    assert name in dir(napcore.testing)
    if isinstance(value, type):
        assert [member for member, held in public_members(value).items() if not inspect.getdoc(held)] == []
        assert value.__doc__
    with pytest.raises(AttributeError, match=r"^module 'napcore.testing' has no attribute 'Simulater'$"):
        napcore.testing.Simulater  # type: ignore[attr-defined]  # noqa: B018


def test_a_star_import_brings_exactly_these() -> None:
    namespace: dict[str, Any] = {}
    exec("from napcore import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(napcore.__all__)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="^module 'napcore' has no attribute 'Rely'$"):
        napcore.Rely  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Rely' from 'napcore'"):
        exec("from napcore import Rely")


def test_lazy_names_are_listed_before_they_are_loaded(tmp_path: Path) -> None:
    code = (
        "import json, sys, napcore; before = dir(napcore); loaded = [m for m in sys.modules if 'napcore.net' in m];"
        "napcore.Relay; print(json.dumps([before, loaded, 'napcore.net.relay' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, loaded, after = json.loads(done.stdout)
    assert set(napcore.__all__) <= set(before)
    assert before == sorted(before)
    assert (loaded, after) == ([], True)


def test_the_version() -> None:
    assert napcore.__version__ == "0.1.0"


def test_which_core_is_in_use_can_be_seen() -> None:
    core = "napcore._dispatch" if napcore.COMPILED else "napcore._dispatch_py"
    assert napcore.peek is importlib.import_module(core).peek


# Documentation.


def public_members(kind: type) -> dict[str, Any]:
    """The methods and properties of a class that have a place for a docstring."""
    fields = types.MemberDescriptorType, types.GetSetDescriptorType
    return {
        name: member
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and not isinstance(member, fields)
        and (callable(member) or isinstance(member, (property, classmethod, staticmethod)))
    }


CLASSES = sorted(
    {value for name in napcore.__all__ if isinstance(value := getattr(napcore, name), type)} | set(REACHED),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("name", sorted(set(napcore.__all__) - {"COMPILED", "__version__"}))
def test_every_name_is_documented(name: str) -> None:
    documentation = inspect.getdoc(vars(napcore)[name] if name in vars(napcore) else getattr(napcore, name))
    assert documentation
    assert not documentation.startswith(f"{name}("), "a dataclass's signature is no documentation"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_method_is_documented(kind: type) -> None:
    assert kind.__doc__
    missing = [name for name, member in public_members(kind).items() if not inspect.getdoc(member)]
    assert missing == []


def test_methods_are_looked_at() -> None:
    assert {"data", "json", "from_dict"} - set(public_members(importlib.import_module("napcore._event_py").Event)) == {
        "data",
        "json",
    }, "those two are inherited"
    assert {"add", "publish", "publish_many", "clients"} <= set(public_members(napcore.Hub))
    assert {"call", "listen", "from_config", "statistics"} <= set(public_members(napcore.Relay))


@pytest.mark.parametrize(
    ("module", "name", "fields"),
    [
        ("napcore.core.filter", "Filter", 26),
        ("napcore.core.policy", "Policy", 13),
        ("napcore.errors", "ConfigProblem", 5),
        ("napcore._event_py", "Event", 10),
        ("napcore._event_py", "Request", 9),
        ("napcore._event_py", "Response", 7),
        ("napcore._dispatch_py", "Report", 5),
        ("napcore.core.stats", "ClientStatistics", 13),
        ("napcore.core.stats", "CallStatistics", 8),
        ("napcore.core.backlog", "WorkerStatistics", 8),
    ],
)
def test_every_field_is_documented(module: str, name: str, fields: int) -> None:
    """Fields carry a string below them, which only the source knows."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    body = {node.name: node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    statements = body[name] if name not in ("Event", "Request", "Response") else body[name] + body["_Document"]
    seen = 0
    for statement, follower in zip(statements, [*statements[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if statement.target.id.startswith("_"):
            continue
        seen += 1
        assert isinstance(follower, ast.Expr), statement.target.id
        assert isinstance(follower.value, ast.Constant), statement.target.id
        assert isinstance(follower.value.value, str), statement.target.id
    assert seen == fields


# What is not shown.


EVENT = json.dumps(
    {
        "post_type": "message",
        "message_type": "group",
        "self_id": 10001,
        "group_id": 342561735,
        "user_id": 7,
        "message_id": 5,
        "raw_message": TEXT,
        "sender": {"nickname": SECRET},
    }
).encode()


def clean(*things: Any) -> list[str]:
    shown = [text for thing in things for text in (repr(thing), str(thing), f"{thing}")]
    assert not [text for text in shown if "canary" in text]
    return shown


def test_repr_of_events() -> None:
    event = napcore.peek(EVENT)
    assert event.data["raw_message"] == TEXT
    assert repr(event) == (
        f"<Event message.group self_id=10001 group_id=342561735 user_id=7 message_id=5 size={len(EVENT)}>"
    )
    clean(event, [event], napcore.Event.from_dict(event.json()))


def test_repr_of_answers_and_requests() -> None:
    answer = json.dumps({"status": "ok", "retcode": 0, "data": TEXT, "echo": SECRET}).encode()
    request = json.dumps({"action": "send_msg", "params": {"message": TEXT}, "echo": SECRET}).encode()
    assert repr(napcore.peek_frame(answer)) == f"<Response ok retcode=0 size={len(answer)}>"
    assert repr(napcore.peek_request(request)) == f"<Request send_msg size={len(request)}>"


@pytest.mark.parametrize("form", ["event", "json", "frame"])
def test_repr_of_hubs_and_clients_with_events_waiting(form: Any) -> None:
    hub = napcore.Hub()
    client = hub.add("alice", form=form)
    report = hub.publish(EVENT)
    clean(hub, client, report, client.statistics(), client.outbox, hub.router, hub.clients)
    assert repr(client) == "<HubClient 'alice' queued=1>"
    assert repr(report) == "Report(matched=1, queued=1, dropped=0, invalid=0)"


def test_repr_of_policies_and_filters() -> None:
    policy = napcore.Policy(max_events=5, keep=napcore.Filter(users={7}))
    assert repr(policy).startswith("Policy(max_events=5, max_bytes=4194304, ")
    assert "users=frozenset({7})" in repr(policy)
    used = napcore.Filter(groups={1})
    used.matches(napcore.peek(EVENT))
    assert repr(used) == repr(napcore.Filter(groups={1}))


def test_repr_of_a_relay_and_its_parts() -> None:
    relay = napcore.Relay()
    url = f"ws://user:{SECRET}@127.0.0.1:3001/ws?access_token={SECRET}"
    upstream = relay.add_upstream(url, token=SECRET)
    client = relay.add_client("alice", url, token=SECRET)
    bot = napcore.connect(url, token=SECRET)
    assert "<Bot ws://127.0.0.1:3001/ws?access_token=*** connecting>" in clean(bot, bot.relay, bot.statistics())
    shown = clean(
        relay, upstream, client, relay.account(10001), relay.statistics(), upstream.name, Door(SECRET, SECRET)
    )
    assert "<RemoteClient 'alice' sessions=0>" in shown
    assert "<Account 10001>" in shown


def test_repr_of_a_configuration() -> None:
    url = f"ws://user:{SECRET}@127.0.0.1:3001/ws?access_token={SECRET}"
    config = Config.from_dict(
        {
            "listen": {"token": SECRET, "upstream_token": SECRET[::-1]},
            "upstream": [{"url": url, "token": SECRET}],
            "client": [{"name": "alice", "url": url, "token": SECRET}, {"name": "bob", "token": SECRET + "x"}],
        }
    )
    shown = clean(config, config.listen, *config.upstream, *config.client)
    assert not [text for text in shown if SECRET[::-1] in text]
    assert "token='***'" in shown[0]


def test_errors_of_a_configuration_show_no_token() -> None:
    for table in (
        {"upstream": [{"url": f"http://user:{SECRET}@h/?access_token={SECRET}", "token": SECRET}]},
        {"client": [{"name": "alice", "token": SECRET}]},
        {"listen": {"token": [SECRET]}},
        {"listen": {"token": SECRET, "tokn": SECRET}},
        {"listen": {"host": "0.0.0.0", "token": SECRET[:10]}},
    ):
        with pytest.raises(napcore.ConfigError) as raised:
            Config.from_dict(table)
        clean(raised.value)


# Values that travel.


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_values_can_be_copied_and_pickled(clone: Any) -> None:
    event = napcore.peek(EVENT)
    assert clone(event) == event
    assert clone(event).raw == EVENT
    assert clone(event).group_id == 342561735
    for value in (
        napcore.Filter(groups={1}),
        napcore.Policy(max_events="off", keep=napcore.Filter()),
        napcore.Outcome(3),
    ):
        assert clone(value) == value
        assert type(clone(value)) is type(value)
