"""Checks of time and memory: how long answers take, alone and under load, what they cost, and a cold start.

A load generator (``load``) puts one example after the other to a replica of its own (``measured``); what is
concluded from the numbers is pure (``numbers``). The machine's noise must not pass for a fault.
"""

from __future__ import annotations

from serinus.checks import Check
from serinus.checks.speed.memory import leak, memory
from serinus.checks.speed.starts import cold_start
from serinus.checks.speed.times import latency, open_load, throughput

CHECKS: tuple[Check, ...] = (latency, open_load, throughput, memory, leak, cold_start)
