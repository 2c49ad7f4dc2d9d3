"""Video heads: what of a window is shown, how it is asked, and what an answer is worth."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm_server.engine.protocol import FrameSlot, Question, VideoSlot
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.catalogue import HeadCatalogue, ModelCard
from lrm_server.heads.manifest import (
    HeadEntry,
    Manifest,
    default_manifest,
    served_heads,
    with_heads,
)
from lrm_server.heads.profile import Readout, Use
from lrm_server.heads.query import Query, WindowFrame
from lrm_server.heads.scoring import HeadScorer
from lrm_server.heads.window import thinned
from tests.heads.scripted_engine import ScriptedEngine, grey

PROFILES = ("roboreward", "topreward", "gvl", "rlinf_trend")
SCORES = ("1", "2", "3", "4", "5")
FRAMES = [grey(shade=shade) for shade in range(0, 200, 2)]


def scorer(engine: ScriptedEngine, **windows: dict[str, object]) -> HeadScorer:
    """The video heads, with options of their windows."""
    manifest = Manifest(
        id="video",
        heads={name: HeadEntry(profile=name, window=windows.get(name, {})) for name in PROFILES},
    )
    card = ModelCard("video", "", engine.fingerprint)
    return HeadScorer(engine, HeadCatalogue(served_heads(manifest, {}), card))


def window(count: int, view: str = "") -> tuple[WindowFrame, ...]:
    return tuple(WindowFrame(frame, view) for frame in FRAMES[:count])


def asked(engine: ScriptedEngine) -> Question:
    ((_, question),) = engine.asked
    return question


def robo(count: int = 4, **fields: object) -> Query:
    return replace(Query(head="roboreward", task="Push.", window=window(count), fps=5.0), **fields)


@given(st.integers(1, 400), st.integers(1, 80))
def test_thinning_keeps_the_ends_the_order_and_the_evenness(count: int, most: int) -> None:
    kept = thinned(count, most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert kept[-1] == count - 1
    if len(kept) > 1:
        assert kept[0] == 0
        steps = [later - earlier for earlier, later in pairwise(kept)]
        assert max(steps) - min(steps) <= 1


async def test_roboreward_shows_the_video_before_the_text_and_pays_the_score() -> None:
    engine = ScriptedEngine()
    engine.shares[SCORES] = [0.1, 0.1, 0.1, 0.6, 0.1]
    reply = await scorer(engine).score(robo())
    video, text = asked(engine).parts
    assert isinstance(video, VideoSlot)
    assert video.frames == tuple(FRAMES[:4])
    assert video.times == pytest.approx((0.0, 0.2, 0.4, 0.6))
    assert isinstance(text, str)
    assert text.endswith("Task: Push.")
    assert asked(engine).form.prefix == "ANSWER: "
    assert (reply.label, reply.value) == ("4", 0.75)
    assert reply.expected == pytest.approx(0.1 * (0 + 0.25 + 0.5 + 1) + 0.6 * 0.75)


async def test_the_order_of_video_and_text_is_an_option_of_the_checkpoint() -> None:
    engine = ScriptedEngine()
    heads = scorer(engine, roboreward={"place": "last"})
    await heads.score(robo())
    text, video = asked(engine).parts
    assert isinstance(text, str)
    assert isinstance(video, VideoSlot)
    assert heads.catalogue["roboreward"].profile.digest != (
        scorer(engine).catalogue["roboreward"].profile.digest
    )


async def test_times_follow_the_frames_numbers_not_their_count() -> None:
    engine = ScriptedEngine()
    sparse = tuple(
        WindowFrame(frame, index=at) for frame, at in zip(FRAMES, (0, 10, 20, 23), strict=False)
    )
    await scorer(engine).score(robo(window=sparse, fps=10.0))
    video = asked(engine).parts[0]
    assert isinstance(video, VideoSlot)
    assert video.times == pytest.approx((0.0, 1.0, 2.0, 2.3))


async def test_a_long_window_is_thinned_and_its_times_stay_true() -> None:
    engine = ScriptedEngine()
    await scorer(engine, roboreward={"max_frames": 4}).score(robo(100))
    video = asked(engine).parts[0]
    assert isinstance(video, VideoSlot)
    kept = thinned(100, 4)
    assert video.frames == tuple(FRAMES[at] for at in kept)
    assert video.times == pytest.approx([at / 5.0 for at in kept])


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("ANSWER: 4", "4"),
        ("The cube is nearly there.\nANSWER: 4", "4"),
        ("ANSWER: 2? No.\nANSWER: 5\n", "5"),
    ],
)
async def test_a_written_score_is_read_strictly(text: str, label: str) -> None:
    engine = ScriptedEngine()
    engine.text = text
    reply = await scorer(engine).score(robo(readout=Readout.GENERATE))
    assert reply.label == label


@pytest.mark.parametrize("text", ["4", "ANSWER: 4.5", "ANSWER: 6", "ANSWER: 4 of 5", "ANSWER:", ""])
async def test_a_written_score_that_is_none_fails(text: str) -> None:
    engine = ScriptedEngine()
    engine.text = text
    with pytest.raises(DomainError) as caught:
        await scorer(engine).score(robo(readout=Readout.GENERATE))
    assert caught.value.code is ErrorCode.ANSWER_UNPARSABLE


@pytest.mark.parametrize(
    ("log_probability", "value"),
    [(-5.0, 1.0), (-15.0, 0.5), (-25.0, 0.0), (-40.0, 0.0), (-1e-9, 1)],
)
async def test_topreward_is_paid_by_the_models_own_log_probability(
    log_probability: float, value: float
) -> None:
    engine = ScriptedEngine()
    engine.shares[(" True",)] = [math.exp(log_probability)]
    query = Query(head="topreward", task="Push.", window=window(3), fps=5.0, use=Use.EXPECTED)
    reply = await scorer(engine).score(query)
    assert reply.value == pytest.approx(value, abs=1e-6)
    assert reply.log_probability == pytest.approx(log_probability, abs=1e-9)
    assert reply.probabilities == pytest.approx({"True": math.exp(log_probability)})
    question = asked(engine)
    assert question.form.in_user_turn
    assert str(question.parts[-1]).endswith(
        "task: Push. Decide whether the above statement is True or not. The answer is:"
    )


@pytest.mark.parametrize("share", [0.0, math.nan])
async def test_topreward_without_a_number_fails(share: float) -> None:
    engine = ScriptedEngine()
    engine.shares[(" True",)] = [share]
    with pytest.raises(DomainError) as caught:
        await scorer(engine).score(Query(head="topreward", task="Push.", window=window(3), fps=5.0))
    assert caught.value.code is ErrorCode.LABEL_MASS_LOW


async def test_gvl_hides_the_order_of_time_and_gives_it_back() -> None:
    engine = ScriptedEngine()
    heads = scorer(engine)
    query = Query(head="gvl", task="Push.", window=window(6))
    engine.text = '{ "task_completion": [0, 1, 2, 3, 4, 5] }'
    reply = await heads.score(query)
    slots = [part.frame for part in asked(engine).parts if isinstance(part, FrameSlot)]
    assert slots[0] is FRAMES[0]
    assert slots != FRAMES[:6]
    assert sorted(slots, key=FRAMES.index) == FRAMES[:6]
    # Whatever was said of a frame is that frame's, wherever it was shown.
    assert reply.series["progress"] == tuple(slots.index(FRAMES[at]) / 100 for at in range(6))
    assert reply.value == reply.series["progress"][-1]
    engine.asked.clear()
    await heads.score(query)
    again = [part.frame for part in asked(engine).parts if isinstance(part, FrameSlot)]
    assert again == slots


async def test_gvl_says_nothing_of_frames_that_it_was_not_shown() -> None:
    engine = ScriptedEngine()
    engine.text = '{ "task_completion": [0, 50, 100] }'
    reply = await scorer(engine, gvl={"max_frames": 3}).score(
        Query(head="gvl", task="Push.", window=window(7))
    )
    series = reply.series["progress"]
    assert [at for at, value in enumerate(series) if value is not None] == thinned(7, 3)


@pytest.mark.parametrize(
    "written",
    ["[0, 50]", "[0, 50, 101]", "[0, 50, 12.5]", "[0, -1, 5]", '["a", 1, 2]', "7", "[0, 1, 2"],
)
async def test_percentages_that_are_none_fail(written: str) -> None:
    engine = ScriptedEngine()
    engine.text = f'{{ "task_completion": {written} }}'
    with pytest.raises(DomainError) as caught:
        await scorer(engine).score(Query(head="gvl", task="Push.", window=window(3)))
    assert caught.value.code is ErrorCode.ANSWER_UNPARSABLE


async def test_the_trend_looks_at_both_views_one_after_the_other() -> None:
    engine = ScriptedEngine()
    engine.shares[("negative", "unclear", "positive")] = [0.7, 0.2, 0.1]
    both = [WindowFrame(frame, view) for frame in FRAMES[:3] for view in ("front", "wrist")]
    reply = await scorer(engine).score(Query(head="rlinf_trend", task="Push.", window=tuple(both)))
    slots = [part for part in asked(engine).parts if isinstance(part, FrameSlot)]
    assert [slot.frame for slot in slots] == [*FRAMES[:3], *FRAMES[:3]]
    # An error names the frame as it was sent.
    assert [slot.name for slot in slots] == [f"window[{at}]" for at in (0, 2, 4, 1, 3, 5)]
    assert (reply.label, reply.value) == ("negative", -0.2)


@pytest.mark.parametrize(("text", "value"), [("positive", 1.0), (" unclear\n", 0.0)])
async def test_a_written_trend_is_one_word(text: str, value: float) -> None:
    engine = ScriptedEngine()
    engine.text = text
    query = Query(
        head="rlinf_trend",
        task="Push.",
        window=(*window(2, "a"), *window(2, "b")),
        readout=Readout.GENERATE,
    )
    assert (await scorer(engine).score(query)).value == value
    engine.text = f"I say {text}"
    with pytest.raises(DomainError) as caught:
        await scorer(engine).score(query)
    assert caught.value.code is ErrorCode.ANSWER_UNPARSABLE


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (robo(window=()), "window"),
        (robo(fps=None), "fps"),
        (robo(fps=0.0), "fps"),
        (robo(fps=math.inf), "fps"),
        (robo(window=(*window(2), WindowFrame(grey(32, 16)))), "window"),
        (robo(window=(*window(2, "a"), *window(2, "b"))), "window"),
        (robo(window=tuple(WindowFrame(FRAMES[0], index=at) for at in (3, 3))), "window"),
        (robo(window=tuple(WindowFrame(FRAMES[0], index=at) for at in (4, 3))), "window"),
        (robo(head="gvl", window=window(1)), "window"),
        (robo(head="rlinf_trend"), "window"),
        (robo(head="rlinf_trend", window=(*window(2, "a"), *window(3, "b"))), "window"),
        (robo(head="gvl", readout=Readout.LIKELIHOOD), "readout"),
        (robo(head="topreward", readout=Readout.GENERATE), "readout"),
        (robo(readout=Readout.GENERATE, use=Use.EXPECTED), "use"),
    ],
)
async def test_what_a_video_head_cannot_be_asked_is_refused(query: Query, field: str) -> None:
    engine = ScriptedEngine()
    with pytest.raises(DomainError) as caught:
        await scorer(engine).score(query)
    assert caught.value.field == field
    assert not engine.asked


async def test_one_frame_needs_no_frame_rate() -> None:
    engine = ScriptedEngine()
    await scorer(engine).score(robo(1, fps=None))
    video = asked(engine).parts[0]
    assert isinstance(video, VideoSlot)
    assert video.times == (0.0,)


def test_heads_of_a_checkpoint_and_of_profiles_can_be_chosen() -> None:
    manifest = Manifest(
        id="chosen",
        heads={"progress": HeadEntry(profile="lrm_progress"), "tri": HeadEntry(profile="lrm_tri")},
        adapters={"progress": "somewhere", "tri": "elsewhere"},
    )
    chosen = with_heads(manifest, ("progress", "roboreward"))
    assert {name: entry.profile for name, entry in chosen.heads.items()} == {
        "progress": "lrm_progress",
        "roboreward": "roboreward",
    }
    assert set(chosen.adapters) == {"progress"}
    with pytest.raises(DomainError, match="robo_reward") as caught:
        with_heads(manifest, ("robo_reward",))
    assert caught.value.field == "heads"


def test_window_options_of_a_head_of_single_frames_are_refused() -> None:
    manifest = default_manifest("m")
    heads = manifest.heads | {
        "progress": HeadEntry(profile="lrm_progress", window={"place": "last"})
    }
    with pytest.raises(DomainError, match="looks at no window"):
        served_heads(manifest.model_copy(update={"heads": heads}), {})


def test_an_unknown_window_option_is_refused() -> None:
    manifest = Manifest(id="m", heads={"gvl": HeadEntry(profile="gvl", window={"shape": "round"})})
    with pytest.raises(DomainError, match=r"window\.shape"):
        served_heads(manifest, {})
