"""``python -m bench wire``: fan-out over sockets, beside C and other servers, in one run."""

from __future__ import annotations
