"""The stubs of the wire are those of proto/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.layers import ROOT

WIRE = ROOT / "client" / "lrm_client" / "wire"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stubs")
    subprocess.run([sys.executable, "hatch_build.py", str(out)], cwd=ROOT, check=True)
    return out / "lrm_client" / "wire"


def test_stubs_are_up_to_date(generated: Path) -> None:
    names = sorted(path.name for path in generated.iterdir())
    assert names == sorted(path.name for path in WIRE.glob("*_pb2*"))
    stale = [
        name for name in names if (generated / name).read_bytes() != (WIRE / name).read_bytes()
    ]
    assert stale == [], "run `make stubs`"


def test_stubs_carry_types(generated: Path) -> None:
    assert {"reward_pb2.pyi", "reward_pb2_grpc.pyi"} <= {path.name for path in generated.iterdir()}
