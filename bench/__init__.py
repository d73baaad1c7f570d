"""Measurements: pytest-benchmark files, and ``python -m bench``, which sets napcore beside its peers."""

from __future__ import annotations
