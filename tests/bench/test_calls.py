"""The path of one API call, as it is measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.calls")


def test_a_call_goes_there_and_back(calls: Any) -> None:
    for size, _ in calls.SIZES:
        data = calls.request(size)
        assert len(data) == size
        napcore = calls.Napcore()
        for _ in range(300 if size < 1000 else 1):
            answer = json.loads(napcore.call(data))
            assert (answer["echo"], answer["data"]) == ("12345", {"message_id": 1})
