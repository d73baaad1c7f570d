"""Faults on purpose: what napcore promises, tried with the network, processes, clocks and limits that break.

``python -m faults`` runs every row of the table in ``docs/faults.md``, each in a process of its own and on
both event loops, and prints one line for each.
"""
