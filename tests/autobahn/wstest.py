"""Starts wstest; for Python 2.7.

Its autobahn wants the framework chosen before anything else. Without that every connection fails,
and wstest still ends with 0.
"""

# ruff: noqa: I002
import txaio

txaio.use_twisted()

from autobahntestsuite.wstest import run  # noqa: E402

run()
