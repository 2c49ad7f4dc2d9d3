"""What a server is opened with: checkpoints that write, Robometers, CLIPs, models elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrm_server.checkpoint import open_scorer
from lrm_server.config import Settings
from lrm_server.errors import DomainError
from lrm_server.heads.profile import Readout, Role
from lrm_server.heads.query import Query, WindowFrame
from tests.engine.chat.scripted_endpoint import Asked, Reply, ScriptedEndpoint, completion
from tests.engine.clip.tiny_clip import make_clip
from tests.engine.robometer.checkpoint import make_base, make_checkpoint
from tests.engine_host import engine_host
from tests.heads.scripted_engine import grey

WINDOW = tuple(WindowFrame(grey(64, 64, shade)) for shade in (10, 90, 170, 250))


def test_a_robometer_is_known_by_its_architecture_and_serves_its_own_heads(
    tmp_path: Path,
) -> None:
    published = make_checkpoint(tmp_path / "weights", make_base(tmp_path / "base"))
    settings = Settings(
        model=str(published.checkpoint),
        base=str(published.base),
        dtype="float32",
        enforce_eager=True,
        max_sequences=8,
        kv_cache_gib=0.25,
    )
    with engine_host(settings) as host:
        assert set(host.scorer.catalogue) == {"progress", "completion", "preference"}
        reply = host.score(Query(head="progress", task="Push.", window=WINDOW))
        assert len(reply.series["progress"]) == len(reply.series["success"]) == len(WINDOW)
        assert reply.value == reply.series["progress"][-1]
        assert 0.0 <= reply.value <= 1.0
        shorter = host.score(Query(head="progress", task="Push.", window=WINDOW[:2]))
        assert shorter.series["progress"] == pytest.approx(reply.series["progress"][:2], abs=1e-4)
        preference = host.score(
            Query(head="preference", task="Push.", window=WINDOW, other_window=WINDOW[:2])
        )
        assert sum(preference.probabilities.values()) == pytest.approx(1.0)
        with pytest.raises(DomainError) as caught:
            host.score(Query(head="preference", task="Push.", window=WINDOW))
        assert caught.value.field == "other_window"


def test_a_robometer_without_a_base_is_refused_with_what_to_name(tmp_path: Path) -> None:
    published = make_checkpoint(tmp_path / "weights", make_base(tmp_path / "base"))
    with (
        pytest.raises(DomainError) as caught,
        engine_host(Settings(model=str(published.checkpoint), enforce_eager=True)),
    ):
        pass
    assert caught.value.field == "base"


async def test_a_clip_serves_similarity_and_nothing_that_is_written(tmp_path: Path) -> None:
    folder = make_clip(tmp_path / "clip")
    async with open_scorer(Settings(backend="clip", model=str(folder))) as scorer:
        assert list(scorer.catalogue) == ["similarity"]
        frames = {Role.INITIAL: grey(48, 48, 10), Role.CURRENT: grey(48, 48, 200)}
        reply = await scorer.score(Query(head="similarity", task="push the cube", frames=frames))
        assert -2.0 <= reply.value <= 2.0
        same = {Role.INITIAL: grey(48, 48, 10), Role.CURRENT: grey(48, 48, 10)}
        still = await scorer.score(Query(head="similarity", task="push the cube", frames=same))
        assert still.value == pytest.approx(0.0, abs=1e-5)


async def test_a_model_behind_an_endpoint_answers_the_same_heads_and_its_tokens_are_told() -> None:
    def script(asked: Asked) -> Reply:
        return completion('{ "task_completed": "yes" }')

    told: list[tuple[str, int, int]] = []
    async with ScriptedEndpoint(script).serving() as endpoint:
        settings = Settings(
            backend="chat",
            model="some-model",
            remote_url=endpoint.url,
            heads="completion",
            remote_prefill="no",
        )
        async with open_scorer(settings, lambda *tokens: told.append(tokens)) as scorer:
            head = scorer.catalogue["completion"]
            assert head.readout is Readout.GENERATE
            reply = await scorer.score(
                Query(head="completion", task="Push.", frames={Role.CURRENT: grey()})
            )
    assert (reply.label, reply.value) == ("yes", 1.0)
    assert reply.model.startswith("some-model@")
    assert told
    assert all(model == "some-model" for model, _, _ in told)


async def test_a_head_that_an_endpoint_cannot_answer_is_refused_at_start() -> None:
    async with ScriptedEndpoint(lambda _: completion("yes")).serving() as endpoint:
        settings = Settings(backend="chat", model="m", remote_url=endpoint.url, heads="topreward")
        with pytest.raises(DomainError) as caught:
            async with open_scorer(settings):
                pass
    assert caught.value.field == "heads"


async def test_no_more_decompositions_are_kept_than_the_settings_allow() -> None:
    plans: list[str] = []

    def script(asked: Asked) -> Reply:
        written = json.dumps(asked.body["messages"])
        if "Break it down" not in written:
            return completion(json.dumps({"plan_is_right": "yes"}))
        plans.append(written)
        steps = [{"subtask": name, "done_when": "it is seen"} for name in ("reach", "push")]
        return completion(json.dumps({"subtasks": steps}))

    async with ScriptedEndpoint(script).serving() as endpoint:
        settings = Settings(
            backend="chat",
            model="m",
            remote_url=endpoint.url,
            heads="lrm_progress,vllr_subtasks",
            remote_prefill="no",
            max_decompositions=1,
        )
        async with open_scorer(settings) as scorer:
            for task, made in (("One.", 1), ("One.", 1), ("Another.", 2), ("One.", 3)):
                await scorer.decompose("subtasks", task)
                assert len(plans) == made


async def test_subtasks_are_made_by_the_planner_where_one_is_named() -> None:
    plan = [{"subtask": "reach the cube", "done_when": "the gripper is at the cube"}]
    plan.append({"subtask": "push it", "done_when": "the cube is in the circle"})

    def script(asked: Asked) -> Reply:
        written = json.dumps(asked.body["messages"])
        asked_for_plan = "Break it down" in written
        return completion(
            json.dumps({"subtasks": plan} if asked_for_plan else {"plan_is_right": "yes"})
        )

    async with (
        ScriptedEndpoint(script).serving() as planner,
        ScriptedEndpoint(lambda _: completion('{ "task_completed": "yes" }')).serving() as model,
    ):
        settings = Settings(
            backend="chat",
            model="sees",
            remote_url=model.url,
            heads="lrm_progress,vllr_subtasks",
            remote_prefill="no",
            planner_url=planner.url,
            planner_model="plans",
        )
        async with open_scorer(settings) as scorer:
            made = await scorer.decompose("subtasks", "Push the cube into the circle.")
    assert [each.subtask for each in made.subtasks] == ["reach the cube", "push it"]
    assert made.model.startswith("plans@")
