"""What is shipped: the wheel has all that an installed lrm needs, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.layers import ROOT

MIB = 1024 * 1024
SOURCES = (
    *("pyproject.toml", "hatch_build.py", ".gitignore", "README.md", "LICENSE", "CHANGELOG.md"),
    *("proto", "client", "server"),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Name -> bytes of the files in the wheel, built by way of the source distribution."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*_pb2*")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    (archive,) = _built("sdist", source)
    unpacked = tmp_path_factory.mktemp("sdist")
    shutil.unpack_archive(archive, unpacked, filter="data")
    (folder,) = unpacked.iterdir()
    (built,) = _built("wheel", folder)
    with zipfile.ZipFile(built) as opened:
        return {item.filename: item.file_size for item in opened.infolist()}


def _built(target: str, source: Path) -> list[Path]:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", "out"]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return [path.resolve() for path in (source / "out").iterdir()]


def test_the_wheel_is_of_our_two_packages(wheel: dict[str, int]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lrm_client", "lrm_server"}
    assert not any("__pycache__" in name for name in wheel)


def test_every_source_file_and_all_data_are_in(wheel: dict[str, int]) -> None:
    expected = {
        str(path.relative_to(root))
        for root, package in ((ROOT / "client", "lrm_client"), (ROOT / "server", "lrm_server"))
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - set(wheel) == set()


def test_stubs_are_generated_into_it(wheel: dict[str, int]) -> None:
    stubs = {name for name in wheel if name.startswith("lrm_client/wire/reward_pb2")}
    assert {name.rpartition("/")[2] for name in stubs} == {
        "reward_pb2.py",
        "reward_pb2.pyi",
        "reward_pb2_grpc.py",
        "reward_pb2_grpc.pyi",
    }


def test_the_weights_stay_small(wheel: dict[str, int]) -> None:
    weights = [size for name, size in wheel.items() if name.endswith(".safetensors")]
    assert 0 < sum(weights) <= 16 * MIB
    assert sum(wheel.values()) <= 20 * MIB


def test_the_licence_is_in(wheel: dict[str, int]) -> None:
    assert any(name.endswith("licenses/LICENSE") for name in wheel)
