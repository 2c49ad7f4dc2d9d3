"""Progress over subtasks: how they are made, how they are asked about, what comes out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrm_client.clock import ClockConfig, Source
from lrm_server.engine.protocol import EngineTimings, Generation, LabelReading, Question
from lrm_server.episodes.service import EpisodeService
from lrm_server.episodes.store import MemoryEpisodeStore
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, OpenedEpisode, StepAnswer
from lrm_server.errors import DomainError, ErrorCode, invalid
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.decomposer import Decomposer
from lrm_server.heads.library import load_profile, parse_profile
from lrm_server.heads.manifest import default_manifest, served_heads, with_heads
from lrm_server.heads.profile import LabelProfile, Readout, Role, Use
from lrm_server.heads.query import Query
from lrm_server.heads.scoring import HeadScorer
from lrm_server.heads.subtask_profile import SubtaskProfile
from lrm_server.heads.subtasks import MAX_CHARACTERS, Subtask, parse_subtasks
from tests.engine_host import EngineHost
from tests.heads.scripted_engine import ScriptedEngine, grey

TASK = "Stack the red cube on the green cube."
PLAN = (
    Subtask("Grasp the red cube.", "the gripper holds the red cube"),
    Subtask("Lift the red cube above the green cube.", "the red cube is above the green one"),
    Subtask("Put the red cube down.", "the red cube lies on the green cube"),
)
WRITTEN = json.dumps(
    {"subtasks": [{"subtask": each.subtask, "done_when": each.done_when} for each in PLAN]}
)
COUNTS = ("0", "1", "2", "3")
STAGES = tuple(f"{stage / 10:.1f}" for stage in range(11))


def profile() -> SubtaskProfile:
    loaded = load_profile("vllr_subtasks")
    assert isinstance(loaded, SubtaskProfile)
    return loaded


def at(place: int, count: int, share: float = 1.0) -> list[float]:
    """Probabilities of labels of which one has a share, and the first of the others the rest."""
    shares = [0.0] * count
    shares[place] = share
    shares[0 if place else 1] += 1 - share
    return shares


class Planner(ScriptedEngine):
    """A text model that writes a plan, and holds it until it is let go."""

    fingerprint = "planner"

    def __init__(self, text: str = WRITTEN) -> None:
        super().__init__()
        self.text = text
        self.complete = True
        self.go = asyncio.Event()
        self.go.set()
        self.shares[("no", "yes")] = [0.1, 0.9]

    async def generate(self, question: Question) -> Generation:
        self.asked.append(("generate", question))
        await self.go.wait()
        return Generation(self.text, self.complete, EngineTimings())

    @property
    def plans(self) -> int:
        return sum(question.form.labels == () for _, question in self.asked)


def scorer(engine: ScriptedEngine, planner: Planner | None = None) -> HeadScorer:
    manifest = with_heads(default_manifest("scripted"), ["progress", "vllr_subtasks"])
    card = ModelCard("scripted", "", engine.fingerprint)
    catalogue = HeadCatalogue(served_heads(manifest, {}), card)
    return HeadScorer(engine, catalogue, Decomposer(planner or Planner()))


def query(**changes: Any) -> Query:
    frames = {Role.INITIAL: grey(shade=10), Role.CURRENT: grey(shade=200)}
    return Query(**{"head": "subtasks", "task": TASK, "frames": frames, **changes})


def told(done: int, stage: int, share: float = 1.0) -> ScriptedEngine:
    """A model that counts so many subtasks, and sees the one at hand at a stage of ten."""
    engine = ScriptedEngine()
    engine.shares[COUNTS] = at(done, 4, share)
    engine.shares[STAGES] = at(stage, 11)
    return engine


def texts(question: Question) -> str:
    return "".join(part for part in question.parts if isinstance(part, str))


async def failure(decomposer: Decomposer, task: str = TASK) -> DomainError:
    with pytest.raises(DomainError) as raised:
        await decomposer.decompose(profile(), task)
    return raised.value


async def test_progress_is_the_completed_subtasks_and_the_part_of_the_one_at_hand() -> None:
    engine = told(done=1, stage=4)
    reply = await scorer(engine).score(query(return_text=True))
    assert reply.value == pytest.approx((1 + 0.4) / 3)
    assert reply.expected == pytest.approx((1 + 0.4) / 3)
    assert reply.label == "1 of 3"
    assert reply.text == PLAN[1].subtask
    assert reply.components["completed"].label == "1"
    assert reply.components["current"].value == pytest.approx(0.4)
    assert reply.profile == profile().digest
    assert reply.timings.engine_ms == 6


async def test_a_task_with_all_subtasks_completed_is_done_and_nothing_more_is_asked() -> None:
    engine = told(done=3, stage=4)
    reply = await scorer(engine).score(query(return_text=True))
    assert (reply.value, reply.label, reply.text) == (1.0, "3 of 3", "")
    assert set(reply.components) == {"completed"}
    assert len(engine.asked) == 1


async def test_the_expectation_is_over_the_number_of_completed_subtasks() -> None:
    engine = told(done=2, stage=5)
    engine.shares[COUNTS] = [0.0, 0.1, 0.6, 0.3]
    reply = await scorer(engine).score(query())
    expected = (0.1 * 1.5 + 0.6 * 2.5 + 0.3 * 3) / 3
    assert reply.expected == pytest.approx(expected)
    assert reply.value == pytest.approx(2.5 / 3)
    assert reply.confidence == pytest.approx(0.6)
    paid = await scorer(engine).score(query(use=Use.EXPECTED))
    assert paid.value == pytest.approx(expected)


async def test_the_model_sees_the_plan_and_both_frames_and_then_the_subtask_at_hand() -> None:
    engine = told(done=1, stage=0)
    asked = query()
    await scorer(engine).score(asked)
    (_, counting), (_, current) = engine.asked
    assert counting.form.labels == COUNTS
    for number, each in enumerate(PLAN, 1):
        assert f"{number}. {each.subtask} (done when: {each.done_when})" in texts(counting)
    assert f"The task is: {TASK}" in texts(counting)
    frames = [part.frame for part in counting.parts if not isinstance(part, str)]  # type: ignore[union-attr]
    assert frames == [asked.frames[Role.INITIAL], asked.frames[Role.CURRENT]]
    assert current.form.labels == STAGES
    assert f"The task is: {PLAN[1].subtask}" in texts(current)
    assert TASK not in texts(current)


async def test_the_readout_generate_gives_a_value_and_no_expectation() -> None:
    class Writer(ScriptedEngine):
        async def generate(self, question: Question) -> Generation:
            self.asked.append(("generate", question))
            key, label = ("subtasks_completed", 2) if question.form.labels == COUNTS else ("", 0.5)
            return Generation(
                json.dumps({key or "completion_progress": label}), True, EngineTimings()
            )

    reply = await scorer(Writer()).score(query(readout=Readout.GENERATE))
    assert reply.value == pytest.approx(2.5 / 3)
    assert reply.expected is None


async def test_subtasks_that_the_caller_brings_are_asked_about_without_a_text_model() -> None:
    planner, engine = Planner(), ScriptedEngine()
    engine.shares["0", "1", "2"] = [0.0, 1.0, 0.0]
    mine = (Subtask("a {task} <current>", "b"), Subtask("c", "d {subtasks} <|im_end|>"))
    reply = await scorer(engine, planner).score(query(subtasks=mine))
    assert reply.label == "1 of 2"
    assert planner.asked == []
    # What stands in the words of a caller is never read as a place to fill.
    assert "1. a {task} <current> (done when: b)" in texts(engine.asked[0][1])
    assert "2. c (done when: d {subtasks} <|im_end|>)" in texts(engine.asked[0][1])


@pytest.mark.parametrize(
    ("subtasks", "field"),
    [
        ([("a", "b")], "subtasks"),
        ([(str(n), "b") for n in range(9)], "subtasks"),
        ([("a", "b"), (" ", "b")], "subtasks[1].subtask"),
        ([("a", "b"), ("c", "")], "subtasks[1].done_when"),
        ([("a", "b"), ("  A ", "c")], "subtasks[1]"),
        ([("a\n2. b", "b"), ("c", "d")], "subtasks[0].subtask"),
        ([("a", "b"), ("c", "d" * (MAX_CHARACTERS + 1))], "subtasks[1].done_when"),
        ([("a", "b"), ("c\ud800", "d")], "subtasks[1].subtask"),
    ],
)
async def test_a_plan_that_is_none_is_the_callers_mistake(
    subtasks: Sequence[tuple[str, str]], field: str
) -> None:
    engine = ScriptedEngine()
    plan = tuple(Subtask(*each) for each in subtasks)
    with pytest.raises(DomainError) as raised:
        await scorer(engine).score(query(subtasks=plan))
    assert (raised.value.code, raised.value.field) == (ErrorCode.INVALID_ARGUMENT, field)
    assert engine.asked == []


@pytest.mark.parametrize("head", ["subtasks", "progress"])
async def test_words_that_are_too_long_are_refused_whichever_head_is_told(head: str) -> None:
    one = scorer(ScriptedEngine())
    long = tuple(Subtask(f"{number}", "b") for number in range(21))
    for changes, field in (({"scene": "x" * 2001}, "scene"), ({"subtasks": long}, "subtasks")):
        with pytest.raises(DomainError) as raised:
            one.check(query(head=head, **changes))
        assert raised.value.field == field


async def test_a_head_that_plans_nothing_is_not_told_of_subtasks() -> None:
    engine = ScriptedEngine()
    one = scorer(engine)
    asked = query(head="progress")
    await one.score(asked)
    await one.score(replace(asked, scene="two cubes", subtasks=PLAN))
    assert engine.asked[0] == engine.asked[1]


async def test_a_failing_question_about_the_subtask_at_hand_is_named() -> None:
    engine = told(done=1, stage=0)
    engine.shares[STAGES] = [0.001] * 11
    with pytest.raises(DomainError) as raised:
        await scorer(engine).score(query())
    assert raised.value.code is ErrorCode.COMPONENT_FAILED
    assert "progress" in raised.value.message


async def test_a_model_that_counts_no_subtasks_fails_the_query() -> None:
    engine = told(done=1, stage=0)
    engine.shares[COUNTS] = [0.01] * 4
    with pytest.raises(DomainError) as raised:
        await scorer(engine).score(query())
    assert raised.value.code is ErrorCode.LABEL_MASS_LOW


async def test_a_goal_frame_of_the_whole_task_is_not_taken() -> None:
    with pytest.raises(DomainError) as raised:
        scorer(ScriptedEngine()).check(
            query(frames={Role.CURRENT: grey(), Role.GOAL: grey(shade=1)})
        )
    assert raised.value.field == "goal"


# How subtasks are made.


async def test_the_text_model_is_told_task_and_scene_and_sees_no_frame() -> None:
    planner = Planner()
    made = await Decomposer(planner).decompose(profile(), TASK, "Two cubes on a table.")
    assert made.subtasks == PLAN
    assert (made.profile, made.model) == (profile().digest, "planner")
    (how, writing), (verified, verifying) = planner.asked
    assert (how, verified) == ("generate", "forced")
    for question in (writing, verifying):
        assert all(isinstance(part, str) for part in question.parts)
        assert f"Task: {TASK}\nScene: Two cubes on a table.\n" in texts(question)
    assert writing.form.max_tokens == profile().decompose.max_answer_tokens
    assert "3. Put the red cube down. (done when:" in texts(verifying)


async def test_a_scene_that_is_not_described_is_said_to_be_so() -> None:
    planner = Planner()
    await Decomposer(planner).decompose(profile(), TASK)
    assert "Scene: not described." in texts(planner.asked[0][1])


def entry(**changes: Any) -> dict[str, Any]:
    return {"subtask": "a", "done_when": "b", **changes}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        f"Here it is: {WRITTEN}",
        f"{WRITTEN} That is all.",
        WRITTEN[:-1],
        json.dumps([entry(), entry(subtask="c")]),
        json.dumps({"subtasks": "a, b"}),
        json.dumps({"subtasks": ["a", "b"]}),
        json.dumps({"subtasks": [entry(), entry(subtask="c")], "note": ""}),
        json.dumps({"subtasks": [entry(), entry(subtask="c", note="")]}),
        json.dumps({"subtasks": [entry(), {"subtask": "c"}]}),
        json.dumps({"subtasks": [entry(), entry(subtask=3)]}),
        json.dumps({"subtasks": [entry(), entry(subtask=None)]}),
        json.dumps({"subtasks": [entry(), entry()]}),
        json.dumps({"subtasks": [entry(), entry(subtask="")]}),
        json.dumps({"subtasks": [entry(), entry(subtask="c\n4. d")]}),
        json.dumps({"subtasks": [entry(), entry(subtask="c" * (MAX_CHARACTERS + 1))]}),
        json.dumps({"subtasks": [entry()]}),
        json.dumps({"subtasks": [entry(subtask=str(n)) for n in range(9)]}),
        '{"subtasks": [], "subtasks": ' + json.dumps([entry(), entry(subtask="c")]) + "}",
        "[" * 100_000,
    ],
)
def test_what_is_not_a_plan_to_the_letter_is_an_error(text: str) -> None:
    with pytest.raises(DomainError) as raised:
        parse_subtasks(text, least=2, most=8)
    assert raised.value.code is ErrorCode.TASK_NOT_DECOMPOSED
    assert len(raised.value.message) < 700


@pytest.mark.parametrize("text", [WRITTEN, f"\n{WRITTEN}\n", f"```json\n{WRITTEN}\n```"])
def test_a_plan_may_stand_in_a_fence(text: str) -> None:
    assert parse_subtasks(text, least=2, most=8) == PLAN


async def test_a_plan_that_was_cut_off_is_an_error() -> None:
    planner = Planner()
    planner.complete = False
    error = await failure(Decomposer(planner))
    assert error.code is ErrorCode.TASK_NOT_DECOMPOSED
    assert "cut off" in error.message


async def test_a_plan_that_its_model_does_not_confirm_is_an_error() -> None:
    planner = Planner()
    planner.shares["no", "yes"] = [0.51, 0.49]
    error = await failure(Decomposer(planner))
    assert error.code is ErrorCode.TASK_NOT_DECOMPOSED
    assert "yes 0.49" in error.message


async def test_a_verification_without_an_answer_is_an_error() -> None:
    planner = Planner()
    planner.shares["no", "yes"] = [0.01, 0.01]
    assert (await failure(Decomposer(planner))).code is ErrorCode.TASK_NOT_DECOMPOSED


@pytest.mark.parametrize(("answer", "confirmed"), [("yes", True), ("no", False), ("maybe", False)])
async def test_a_model_that_cannot_be_read_writes_its_verification(
    answer: str, confirmed: bool
) -> None:
    class Unread(Planner):
        async def read_forced(self, question: Question) -> LabelReading:
            raise invalid("readout", "no log-probabilities here")

        async def generate(self, question: Question) -> Generation:
            if question.form.labels:
                return Generation(json.dumps({"plan_is_right": answer}), True, EngineTimings())
            return await super().generate(question)

    decomposer = Decomposer(Unread())
    if confirmed:
        assert (await decomposer.decompose(profile(), TASK)).subtasks == PLAN
    else:
        assert (await failure(decomposer)).code is ErrorCode.TASK_NOT_DECOMPOSED


async def test_an_engine_that_is_down_is_no_fault_of_the_task() -> None:
    planner = Planner()
    planner.failing["no", "yes"] = DomainError(ErrorCode.UNAVAILABLE, "down")
    assert (await failure(Decomposer(planner))).code is ErrorCode.UNAVAILABLE


async def test_a_task_is_decomposed_once() -> None:
    planner = Planner()
    decomposer = Decomposer(planner)
    for _ in range(3):
        await decomposer.decompose(profile(), TASK)
    assert planner.plans == 1
    await decomposer.decompose(profile(), TASK, "another scene")
    await decomposer.decompose(profile(), "another task")
    other = profile().model_copy(update={"most": 7})
    await decomposer.decompose(other, TASK)
    assert planner.plans == 4


async def test_those_who_ask_at_once_share_one_answer() -> None:
    planner = Planner()
    planner.go.clear()
    one = scorer(told(done=1, stage=4), planner)
    asking = [asyncio.ensure_future(one.score(query())) for _ in range(8)]
    await asyncio.sleep(0)
    planner.go.set()
    replies = await asyncio.gather(*asking)
    assert {reply.label for reply in replies} == {"1 of 3"}
    assert planner.plans == 1


async def test_a_failure_is_shared_and_not_kept() -> None:
    planner = Planner("no plan")
    decomposer = Decomposer(planner)
    errors = await asyncio.gather(*(failure(decomposer) for _ in range(4)))
    assert {error.code for error in errors} == {ErrorCode.TASK_NOT_DECOMPOSED}
    assert planner.plans == 1
    planner.text = WRITTEN
    assert (await decomposer.decompose(profile(), TASK)).subtasks == PLAN


async def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    planner = Planner()
    planner.go.clear()
    decomposer = Decomposer(planner)
    leaving, staying = (
        asyncio.ensure_future(decomposer.decompose(profile(), TASK)) for _ in range(2)
    )
    await asyncio.sleep(0)
    leaving.cancel()
    planner.go.set()
    assert (await staying).subtasks == PLAN
    assert leaving.cancelled()


async def test_a_text_model_slower_than_its_caller_is_found_done_the_next_time() -> None:
    planner = Planner()
    planner.go.clear()
    decomposer = Decomposer(planner)
    with pytest.raises(DomainError) as raised:
        await decomposer.decompose(profile(), TASK, deadline=time.monotonic())
    assert raised.value.code is ErrorCode.DEADLINE_EXCEEDED
    planner.go.set()
    assert (await decomposer.decompose(profile(), TASK)).subtasks == PLAN
    assert planner.plans == 1


async def test_the_text_model_is_given_a_time_of_its_own() -> None:
    planner = Planner()
    await Decomposer(planner, seconds=7.0).decompose(profile(), TASK)
    deadline = planner.asked[0][1].deadline
    assert deadline is not None
    assert 0 < deadline - time.monotonic() <= 7.0


async def test_what_is_kept_is_bounded_and_the_least_used_goes_first() -> None:
    planner = Planner()
    decomposer = Decomposer(planner, most_kept=2)
    for task in ("a", "b", "a", "c", "a"):
        await decomposer.decompose(profile(), task)
    assert planner.plans == 3
    await decomposer.decompose(profile(), "b")
    assert planner.plans == 4


async def test_tasks_that_are_worked_on_at_once_are_bounded() -> None:
    planner = Planner()
    planner.go.clear()
    decomposer = Decomposer(planner, most_at_once=1)
    first = asyncio.ensure_future(decomposer.decompose(profile(), "a"))
    await asyncio.sleep(0)
    assert (await failure(decomposer, "b")).code is ErrorCode.OVERLOADED
    planner.go.set()
    await first
    await decomposer.decompose(profile(), "b")


async def test_in_an_episode_a_slow_text_model_fails_a_step_and_no_opening() -> None:
    planner = Planner()
    planner.go.clear()
    one = scorer(told(done=1, stage=4), planner)
    store = MemoryEpisodeStore(max_episodes=4, max_frame_mib=4, idle_seconds=60)
    episodes = EpisodeService(one, store)
    spec = EpisodeSpec(id="e", task=TASK, heads=("subtasks",), clock=ClockConfig(interval=1))
    (opened,) = await episodes.open([spec])
    assert isinstance(opened, OpenedEpisode)
    assert planner.asked == []

    async def step(number: int, **changes: Any) -> StepAnswer:
        taken = EpisodeStep(episode="e", step=number, frame=grey(shade=number), **changes)
        (answer,) = await episodes.step([taken])
        assert isinstance(answer, StepAnswer)
        return answer

    await step(0)
    (late,) = (await step(1, deadline=time.monotonic() + 0.05)).rewards
    assert late.source is Source.FAILED
    assert late.error is not None
    assert late.error.code is ErrorCode.DEADLINE_EXCEEDED
    planner.go.set()
    for number in (2, 3):
        (reward,) = (await step(number)).rewards
        assert reward.value == pytest.approx(1.4 / 3)
    assert planner.plans == 1


# How the head is served.


async def test_the_subtasks_of_a_head_can_be_looked_at() -> None:
    one = scorer(ScriptedEngine())
    assert (await one.decompose("subtasks", TASK)).subtasks == PLAN
    for head, task, field in (("progress", TASK, "head"), ("subtasks", " ", "task")):
        with pytest.raises(DomainError) as raised:
            await one.decompose(head, task)
        assert raised.value.field == field
    with pytest.raises(DomainError) as raised:
        await one.decompose("nothing", TASK)
    assert raised.value.code is ErrorCode.UNKNOWN_HEAD


def test_the_head_needs_the_head_that_it_asks_about_the_subtask_at_hand() -> None:
    manifest = with_heads(default_manifest("scripted"), ["vllr_subtasks"])
    with pytest.raises(DomainError, match="progress") as raised:
        served_heads(manifest, {})
    assert raised.value.field == "manifest"


def test_the_head_is_neutral_at_nothing_and_looks_at_the_initial_and_the_current_frame() -> None:
    head = scorer(ScriptedEngine()).catalogue["subtasks"]
    assert head.neutral == 0.0
    assert head.required_frames == (Role.CURRENT,)
    assert head.optional_frames == (Role.INITIAL,)


def test_every_number_of_subtasks_has_its_labels() -> None:
    for count, asking in profile().completing.items():
        assert isinstance(asking, LabelProfile)
        assert list(asking.values) == [str(number) for number in range(count + 1)]
        assert asking.values[str(count)] == 1.0
    assert set(profile().completing) == set(range(2, 9))


def test_a_profile_whose_bounds_are_crossed_is_refused() -> None:
    document = profile().model_dump(mode="json") | {"least": 9}
    with pytest.raises(DomainError, match="least 9 is above most 8"):
        parse_profile(document, "mine")


# The embedded checkpoint.


def live(served: EngineHost, profiles: Path | None = None) -> HeadScorer:
    engine = served.scorer.engine
    names = ["progress", "vllr_subtasks"]
    manifest = with_heads(default_manifest("embedded"), names, profiles)
    card = ModelCard("embedded", "", engine.fingerprint)
    return HeadScorer(engine, HeadCatalogue(served_heads(manifest, {}, profiles), card))


def seen() -> Query:
    """A query about subtasks that the caller brought, with frames of the embedded model's size."""
    frames = {Role.INITIAL: grey(128, 128, 90), Role.CURRENT: grey(128, 128, 130)}
    return query(frames=frames, subtasks=PLAN)


def without_a_floor(folder: Path) -> Path:
    """The profile as it reads a checkpoint that was never trained to count subtasks."""
    document = profile().model_dump(mode="json", exclude_unset=True)
    document["completed"]["label_mass_floor"] = 0.0
    (folder / "vllr_subtasks.yaml").write_text(yaml.safe_dump(document))
    return folder


def test_a_real_engine_is_read_over_the_subtasks_that_are_brought(
    served: EngineHost, tmp_path: Path
) -> None:
    reply = served.run(live(served, without_a_floor(tmp_path)).score(seen()))
    counted = reply.components["completed"]
    done = int(counted.label)
    assert set(counted.probabilities) == set(COUNTS)
    assert sum(counted.probabilities.values()) == pytest.approx(1.0)
    assert counted.label_mass is not None
    assert 0.0 < counted.label_mass < 1.0
    assert ("current" in reply.components) == (done < 3)
    part = reply.components["current"].value if done < 3 else 0.0
    assert reply.value == pytest.approx((done + part) / 3)
    assert reply.label == f"{done} of 3"
    assert reply.expected is not None
    assert 0.0 <= reply.expected <= 1.0


def test_a_checkpoint_that_was_not_trained_to_count_subtasks_fails_and_gives_no_value(
    served: EngineHost,
) -> None:
    with pytest.raises(DomainError) as raised:
        served.run(live(served).score(seen()))
    assert raised.value.code is ErrorCode.LABEL_MASS_LOW


def test_a_real_engine_that_writes_no_plan_says_so(served: EngineHost) -> None:
    with pytest.raises(DomainError) as raised:
        served.run(live(served).decompose("subtasks", TASK))
    assert raised.value.code is ErrorCode.TASK_NOT_DECOMPOSED
    assert "bring its subtasks" in raised.value.message
