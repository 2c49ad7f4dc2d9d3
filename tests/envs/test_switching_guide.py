"""The lines that the guide changes lead other projects' clients to this server."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import AsyncIterator
from dataclasses import fields
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import requests
import typer.main
import yaml

from lrm_server.cli import app
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.library import built_in_names
from tests.api.compat import lrm_client, robometer_client
from tests.api.compat.service import CompatEngine, running
from tests.api.compat.test_chat import asked, data_url
from tests.client.scripted import problem
from tests.client.scripted_grpc import serve_grpc
from tests.envs.lerobot_rig import ServingCore, batch_of, images
from tests.envs.lerobot_stub import ADAPTER, stand_in
from tests.project.layers import ROOT
from tests.project.readme import GRPC, HTTP, at

GUIDE = ROOT / "client" / "guides" / "switching.md"
TEXT = GUIDE.read_text("utf-8")
TIMEOUT = 30


def blocks(language: str, heading: str) -> list[str]:
    """The code blocks of a language below a heading, continued lines joined."""
    section = TEXT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0].replace("\\\n", " ")
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def only(language: str, heading: str) -> str:
    (block,) = blocks(language, heading)
    return block


@pytest.fixture
def engine() -> CompatEngine:
    return CompatEngine()


@pytest_asyncio.fixture
async def http(engine: CompatEngine) -> AsyncIterator[str]:
    """The base URL of a server of LRM's heads."""
    async with running(engine) as client:
        yield str(client.base_url).rstrip("/")


def posted(url: str, **sent: Any) -> requests.Response:
    return requests.post(url, timeout=TIMEOUT, **sent)


class VLMRewardClient:
    """Asks as the client of LRM's project does, and hides failures as it does."""

    def __init__(self, server_url: str) -> None:
        self._url = server_url.rstrip("/")

    def compute_comparison(self, image_a: Any, image_b: Any, task: str) -> dict[str, Any]:
        body = {**lrm_client.comparison(image_a, image_b), "task_description": task}
        answer = posted(f"{self._url}/compute_comparison", json=body).json()
        if not answer.get("success", False):
            return {"result": None, "score": 0.0, "success": False}
        return answer


async def test_lrms_client_gets_rewards_and_is_told_of_failures(
    http: str,
    engine: CompatEngine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = ModuleType("vlm_reward_client")
    module.VLMRewardClient = VLMRewardClient
    monkeypatch.setitem(sys.modules, "vlm_reward_client", module)
    code = compile(at(only("python", "LRM"), GRPC, http), GUIDE.name, "exec")
    given = {"before": lrm_client.image(1), "after": lrm_client.image(2), "TASK": "push"}
    engine.judge = lambda question: (0.1, 0.9)
    await asyncio.to_thread(exec, code, given)
    assert capsys.readouterr().out == "ImageB 1.0\n"
    engine.judge = lambda question: DomainError(ErrorCode.LABEL_MASS_LOW, "not answering")
    with pytest.raises(RuntimeError, match="no reward"):
        await asyncio.to_thread(exec, code, given)


async def test_the_url_in_lrms_configuration_is_the_services(http: str) -> None:
    url = yaml.safe_load(at(only("yaml", "LRM"), GRPC, http))["vlm_server_url"]
    health = await asyncio.to_thread(requests.get, f"{url}/health", timeout=TIMEOUT)
    assert health.json()["model_loaded"] is True
    body = lrm_client.reward(lrm_client.image())
    answer = await asyncio.to_thread(posted, f"{url}/compute_reward", json=body)
    assert answer.json()["success"] is True


async def test_robometers_base_url_answers_its_samples(http: str) -> None:
    _, command = blocks("sh", "Robometer")
    words = shlex.split(at(command, GRPC, http))
    url = words[words.index("--eval-server-url") + 1]
    form = robometer_client.form([robometer_client.progress(robometer_client.frames(3))])
    answer = await asyncio.to_thread(posted, f"{url}/evaluate_batch_npy", **form)
    assert np.shape(answer.json()["outputs_progress"]["progress_pred"]) == (1, 3)


async def test_rlinfs_worker_reads_what_the_model_wrote(http: str) -> None:
    settings = yaml.safe_load(at(only("yaml", "RLinf"), GRPC, http))["reward"]["api"]
    base = settings["api_base"].removesuffix("/v1")
    url = data_url(lrm_client.image(), quality=95)
    models = await asyncio.to_thread(requests.get, f"{base}/v1/models", timeout=TIMEOUT)
    name = models.json()["data"][0]["id"]
    body = asked(url, url, model=name, **settings["sampling_params"])
    answer = await asyncio.to_thread(posted, f"{base}/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "positive"


def test_lerobots_block_gives_rewards_and_masks_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    core = ServingCore()
    core.answer = lambda frame: problem("label_mass_low") if frame.frame[0] == 3 else 0.5
    with stand_in(), serve_grpc(core) as target:
        code = compile(at(only("python", "LeRobot"), target, HTTP), GUIDE.name, "exec")
        given: dict[str, Any] = {"batch": batch_of(images(1, 2, 3))}
        exec(code, given)  # noqa: S102
        given["model"].close()
    assert given["rewards"].isnan().tolist() == [False, False, True]
    assert capsys.readouterr().out == "tensor(0.5000)\n"


def test_lerobots_arguments_are_fields_of_the_config() -> None:
    given = dict(word.split("=", 1) for word in shlex.split(only("sh", "LeRobot")))
    options = {key.removeprefix("--reward_model."): value for key, value in given.items()}
    assert options.pop("discover_packages_path") == ADAPTER
    assert options.pop("type") == "lrm"
    with stand_in() as adapter:
        known = {field.name for field in fields(adapter.LrmConfig)}
    assert options.keys() <= known


def test_the_servers_commands_are_the_command_lines() -> None:
    group: Any = typer.main.get_command(app)
    every = "".join(block for heading in ("LRM", "Robometer", "RLinf")
                    for block in blocks("sh", heading))  # fmt: skip
    commands = [shlex.split(line) for line in every.splitlines() if line.startswith("lrm ")]
    assert len(commands) == 4
    for _, name, *arguments in commands:
        context = group.commands[name].make_context(name, list(arguments))
        profiles = (context.params["heads"] or "").split(",")
        assert set(profiles) <= {"", *built_in_names()}


def test_names_in_the_text_are_there() -> None:
    inline = re.findall(r"`([^`\n]+)`", TEXT)
    flags = {flag for code in inline for flag in re.findall(r"(?<!\S)--[a-z-]+", code)}
    group: Any = typer.main.get_command(app)
    assert flags == {"--heads"} <= {flag for p in group.commands["serve"].params for flag in p.opts}
    assert "rlinf_trend" in built_in_names()
