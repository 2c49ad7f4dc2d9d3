"""The held-out episodes, opened once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrm_server.audit.audit import plan_audit
from lrm_server.audit.plan import Plan
from lrm_server.audit.sampling import Budget
from lrm_server.recordings.data_set import DataSet, open_data_set

HELD_OUT = Path(__file__).parents[2] / "training" / "heldout"

BUDGET = Budget(episodes=60, probes=10)


@pytest.fixture(scope="session")
def held_out() -> DataSet:
    return open_data_set(HELD_OUT)


@pytest.fixture(scope="session")
def plan(held_out: DataSet) -> Plan:
    return plan_audit(held_out, budget=BUDGET)
