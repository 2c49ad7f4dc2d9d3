"""Targets and retries as values."""

from __future__ import annotations

import asyncio
import math

import pytest

from lrm_client import AsyncRewardClient, Retry, RewardClient
from lrm_client.connection import Target, parse_target


@pytest.mark.parametrize(
    ("target", "parsed"),
    [
        ("127.0.0.1:50051", Target("grpc", "127.0.0.1:50051", False)),
        ("grpc://rewards:50051", Target("grpc", "rewards:50051", False)),
        ("grpcs://rewards:443/", Target("grpc", "rewards:443", True)),
        ("[::1]:50051", Target("grpc", "[::1]:50051", False)),
        ("http://127.0.0.1:8080", Target("http", "http://127.0.0.1:8080", False)),
        ("https://host/rewards/", Target("http", "https://host/rewards", True)),
    ],
)
def test_the_transport_is_inferred_from_the_target(target: str, parsed: Target) -> None:
    assert parse_target(target) == parsed


@pytest.mark.parametrize(
    "target",
    ["", "host", "host:", ":50051", "host:port", "ftp://host:21", "http://", "grpc://host"],
)
def test_a_target_that_names_no_server_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"scheme|host"):
        parse_target(target)


def test_the_bound_of_the_waits_grows_up_to_its_maximum() -> None:
    retry = Retry(initial_seconds=0.1, maximum_seconds=0.5, multiplier=2.0)
    assert [retry.bound(failures) for failures in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, 0.5]


def test_the_waits_stay_bounded_in_an_outage_of_any_length() -> None:
    retry = Retry(initial_seconds=0.1, maximum_seconds=0.5, multiplier=2.0)
    assert retry.bound(100_000) == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"initial_seconds": 0.0},
        {"initial_seconds": 3.0},
        {"maximum_seconds": math.inf},
        {"multiplier": 0.5},
        {"multiplier": math.nan},
    ],
    ids=str,
)
def test_a_retry_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Retry(**wrong)


@pytest.mark.parametrize(
    ("target", "loopback"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.0.1:50051", True),
        ("[::1]:50051", True),
        ("localhost:50051", True),
        ("grpcs://localhost:443", True),
        ("http://localhost:8080", True),
        ("https://[::1]:8443/rewards", True),
        ("10.0.0.1:50051", False),
        ("rewards:50051", False),
        ("http://localhost.example.org", False),
    ],
)
def test_a_target_on_this_machine_is_known(target: str, loopback: bool) -> None:
    assert parse_target(target).loopback is loopback


def test_a_server_on_this_machine_is_reached_past_a_proxy(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens there, so that a request by way of it fails.
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    async def ask() -> str:
        async with AsyncRewardClient(target, retry=Retry(attempts=1), timeout=5.0) as client:
            return (await client.models()).version

    with RewardClient(target, retry=Retry(attempts=1), timeout=5.0) as client:
        assert client.models().version == asyncio.run(ask())


def test_every_client_has_a_name_of_its_own() -> None:
    clients = [RewardClient("127.0.0.1:9") for _ in range(3)]
    assert len({client.name for client in clients}) == 3
    assert RewardClient("127.0.0.1:9", name="learner-7").name == "learner-7"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "two words"},
        {"name": "naïve"},
        {"name": "a" * 101},
        {"priority": "urgent"},
    ],
    ids=str,
)
def test_a_name_or_a_priority_that_is_none_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RewardClient("127.0.0.1:9", **wrong)
