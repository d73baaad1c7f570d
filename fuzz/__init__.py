"""Fuzzing of the compiled core: ``python -m fuzz``."""

from __future__ import annotations
