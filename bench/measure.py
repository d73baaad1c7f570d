"""A workload's cases under pytest-benchmark: fresh inputs and a checked result in every round."""

from __future__ import annotations

from typing import Any

from bench.workload import Workload

ROUNDS = 50


def measure(benchmark: Any, workload: Workload, name: str) -> None:
    """Time the case ``name``; times are of ``workload.events`` events."""
    case = next(case for case in workload.cases if case.name == name)
    benchmark.group = f"{workload.section}, {workload.name}"
    benchmark.extra_info.update(events=workload.events, deliveries=workload.deliveries)
    worked: list[tuple[Any, Any]] = []

    def prepare() -> tuple[tuple[Any], dict[str, Any]]:
        check()
        return (case.prepare(),), {}

    def run(inputs: Any) -> None:
        worked.append((inputs, case.run(inputs)))

    def check() -> None:
        while worked:
            case.check(*worked.pop())

    benchmark.pedantic(run, setup=prepare, rounds=ROUNDS)
    assert worked, "nothing was timed"
    check()
