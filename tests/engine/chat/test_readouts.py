"""How the three readouts are asked of endpoints that can more or less."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from lrm_server.engine.chat.abilities import CONTINUE, Abilities
from lrm_server.engine.protocol import (
    AnswerForm,
    Conversation,
    FrameSlot,
    LabelReading,
    Message,
    VideoSlot,
)
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.frames import Encoding, FrameLimits, open_frame
from tests.engine.chat.forms import COMPLETION, PROGRESS, SCORE, question
from tests.engine.chat.scripted_endpoint import (
    LISTING,
    WRITING,
    Asked,
    Reply,
    ScriptedEndpoint,
    completion,
    engine_on,
    in_turn,
)
from tests.heads.scripted_engine import grey

YES = completion(places=[("yes", {"yes": 0.7, "no": 0.2})])
WROTE = completion(
    places=[
        ("It moved. ", {"It moved. ": 1.0}),
        ('{ "completion_progress":', {'{ "completion_progress":': 1.0}),
        (" 0", {" 0": 0.9, " 1": 0.1}),
        (".", {".": 1.0}),
        ("7", {"7": 0.6, "8": 0.4}),
        (" }", {" }": 1.0}),
    ]
)


def shares(form: AnswerForm, reading: LabelReading) -> dict[str, float]:
    return {
        label: math.exp(logprob)
        for label, logprob in zip(form.labels, reading.logprobs, strict=True)
        if logprob > -math.inf
    }


async def test_the_prefix_is_forced_where_the_endpoint_goes_on_from_it() -> None:
    async with (
        ScriptedEndpoint(in_turn([YES])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        reading = await engine.read_forced(question(COMPLETION))
    (asked,) = endpoint.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body["messages"][-1] == {"role": "assistant", "content": COMPLETION.prefix}
    assert {name: asked.body[name] for name in CONTINUE} == CONTINUE
    assert (asked.body["logprobs"], asked.body["top_logprobs"]) == (True, 20)
    assert asked.body["temperature"] == 0.0
    assert asked.body["max_tokens"] == 2
    assert shares(COMPLETION, reading) == pytest.approx({"yes": 0.7, "no": 0.2})
    assert reading.text == ""


async def test_labels_of_other_beginnings_are_asked_for_by_continuing_them() -> None:
    def script(asked: Asked) -> Reply:
        begun = asked.body["messages"][-1]["content"]
        if begun == PROGRESS.prefix:
            return completion(
                places=[("1", {"1": 0.5, "0": 0.25, " 0": 0.15, "?": 0.1}), (".", {".": 1.0})]
            )
        assert begun == PROGRESS.prefix + "0."
        return completion(places=[("9", {"9": 0.75, "8": 0.25})])

    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        reading = await engine.read_forced(question(PROGRESS))
    assert shares(PROGRESS, reading) == pytest.approx({"1.0": 0.5, "0.9": 0.3, "0.8": 0.1})
    assert len(endpoint.asked) == 2


async def test_an_improbable_beginning_is_not_worth_a_request() -> None:
    script = in_turn([completion(places=[("1", {"1": 0.9, "0": 0.00001})])])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        reading = await engine.read_forced(question(PROGRESS))
    assert shares(PROGRESS, reading) == pytest.approx({"1.0": 0.9})
    assert len(endpoint.asked) == 1


async def test_an_endpoint_that_never_decides_is_not_asked_for_ever() -> None:
    script = in_turn([completion(places=[("0", {"0": 1.0})]), completion(places=[])])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        with pytest.raises(DomainError) as error:
            await engine.read_forced(question(PROGRESS))
    assert error.value.code is ErrorCode.ANSWER_NOT_REACHED
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize("readout", ["read_forced", "read_after_reasoning"])
async def test_without_forcing_the_labels_are_read_where_the_model_wrote_one(readout: str) -> None:
    async with (
        ScriptedEndpoint(in_turn([WROTE])).serving() as endpoint,
        engine_on(endpoint, LISTING) as engine,
    ):
        reading = await getattr(engine, readout)(question(PROGRESS))
    assert shares(PROGRESS, reading) == pytest.approx({"0.7": 0.54, "0.8": 0.36, "1.0": 0.1})
    assert reading.text == "It moved."
    (asked,) = endpoint.asked
    assert [message["role"] for message in asked.body["messages"]] == ["user"]
    assert asked.body["max_tokens"] == PROGRESS.max_tokens
    assert not CONTINUE.keys() & asked.body.keys()


async def test_after_reasoning_other_beginnings_are_continued_where_that_can_be() -> None:
    def script(asked: Asked) -> Reply:
        if asked.body["messages"][-1]["role"] == "user":
            return completion(
                places=[
                    ('Hm. { "completion_progress": ', {'Hm. { "completion_progress": ': 1.0}),
                    ("1.0", {"1.0": 0.5, "0": 0.5}),
                ]
            )
        assert asked.body["messages"][-1]["content"] == 'Hm. { "completion_progress": 0.'
        return completion(places=[("9", {"9": 1.0})])

    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        reading = await engine.read_after_reasoning(question(PROGRESS))
    assert shares(PROGRESS, reading) == pytest.approx({"1.0": 0.5, "0.9": 0.5})


async def test_labels_that_cannot_be_told_apart_are_no_reading() -> None:
    wrote = completion(
        places=[
            ('{ "completion_progress": ', {'{ "completion_progress": ': 1.0}),
            ("1.0", {"1.0": 0.7, "0": 0.3}),
        ]
    )
    async with (
        ScriptedEndpoint(in_turn([wrote])).serving() as endpoint,
        engine_on(endpoint, LISTING) as engine,
    ):
        with pytest.raises(DomainError) as error:
            await engine.read_forced(question(PROGRESS))
    assert error.value.code is ErrorCode.ANSWER_NOT_REACHED
    assert "0.30" in error.value.message
    assert "generate" in error.value.message


@pytest.mark.parametrize("readout", ["read_forced", "read_after_reasoning"])
async def test_without_probabilities_generate_is_named_as_the_way(readout: str) -> None:
    async with (
        ScriptedEndpoint(in_turn([WROTE])).serving() as endpoint,
        engine_on(endpoint, WRITING) as engine,
    ):
        assert not engine.reads_labels
        with pytest.raises(DomainError) as error:
            await getattr(engine, readout)(question(PROGRESS))
    assert (error.value.code, error.value.field) == (ErrorCode.INVALID_ARGUMENT, "readout")
    assert "generate" in error.value.message
    assert not endpoint.asked


async def test_no_label_among_the_listed_tokens_is_too_little_mass() -> None:
    script = in_turn([completion(places=[("The", {"The": 0.6, "A": 0.3})])])
    async with ScriptedEndpoint(script).serving() as endpoint, engine_on(endpoint) as engine:
        with pytest.raises(DomainError) as error:
            await engine.read_forced(question(COMPLETION))
    assert error.value.code is ErrorCode.LABEL_MASS_LOW


async def test_a_reply_without_the_probabilities_that_were_asked_for_is_no_reading() -> None:
    script = in_turn([completion('{ "task_completed": "yes" }')])
    async with ScriptedEndpoint(script).serving() as endpoint:
        for abilities in (LISTING, None):
            async with engine_on(endpoint, *([abilities] if abilities else [])) as engine:
                with pytest.raises(DomainError) as error:
                    await engine.read_forced(question(COMPLETION))
            assert error.value.code is ErrorCode.INTERNAL
            assert "log-probabilities" in error.value.message


async def test_an_answer_that_is_a_line_needs_no_json() -> None:
    wrote = completion(
        places=[("ANSWER", {"ANSWER": 1.0}), (":", {":": 1.0}), (" 4", {" 4": 0.8, " 5": 0.2})]
    )
    async with (
        ScriptedEndpoint(in_turn([wrote])).serving() as endpoint,
        engine_on(endpoint, LISTING) as engine,
    ):
        reading = await engine.read_forced(question(SCORE))
    assert shares(SCORE, reading) == pytest.approx({"4": 0.8, "5": 0.2})


async def test_an_answer_in_the_users_turn_is_refused() -> None:
    form = AnswerForm("is: ", ("True",), "", 8, in_user_turn=True)
    async with (
        ScriptedEndpoint(in_turn([YES])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        with pytest.raises(DomainError) as error:
            await engine.read_forced(question(form))
    assert (error.value.code, error.value.field) == (ErrorCode.INVALID_ARGUMENT, "head")


async def test_generate_returns_what_was_written_and_whether_it_was_cut() -> None:
    cut = completion("a long tale")
    cut = Reply(cut.body.replace(b'"stop"', b'"length"'))
    async with (
        ScriptedEndpoint(in_turn([cut])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        written = await engine.generate(question(COMPLETION))
    assert (written.text, written.complete) == ("a long tale", False)
    assert "logprobs" not in endpoint.asked[0].body


async def test_a_conversation_is_passed_on_with_its_sampling() -> None:
    conversation = Conversation(
        messages=(
            Message("system", ("Be short.",)),
            Message("user", ("What is this?", FrameSlot(grey()))),
            Message("assistant", ("A cube.",)),
            Message("user", ("And now?",)),
        ),
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        seed=3,
    )
    async with (
        ScriptedEndpoint(in_turn([completion("a sphere")])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        written = await engine.converse(conversation)
    assert (written.text, written.finish_reason) == ("a sphere", "stop")
    assert (written.prompt_tokens, written.completion_tokens) == (100, 7)
    body = endpoint.asked[0].body
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert body["messages"][0]["content"] == "Be short."
    assert [part["type"] for part in body["messages"][1]["content"]] == ["text", "image_url"]
    fields = ("max_tokens", "temperature", "top_p", "stop", "seed")
    assert [body[name] for name in fields] == [9, 0.5, 0.9, ["END"], 3]


async def test_a_conversation_without_a_bound_leaves_it_to_the_endpoint() -> None:
    conversation = Conversation(messages=(Message("user", ("Say it.",)),))
    async with (
        ScriptedEndpoint(in_turn([completion("it")])).serving() as endpoint,
        engine_on(endpoint, Abilities(sampling={})) as engine,
    ):
        await engine.converse(conversation)
    body = endpoint.asked[0].body
    assert body == {"model": "model", "messages": [{"role": "user", "content": "Say it."}]}


async def test_a_refusal_is_no_answer() -> None:
    body = b'{"choices": [{"message": {"content": null, "refusal": "I would\\nrather not"}}]}'
    async with (
        ScriptedEndpoint(in_turn([Reply(body)])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        with pytest.raises(DomainError) as error:
            await engine.generate(question(COMPLETION))
    assert error.value.code is ErrorCode.ANSWER_NOT_REACHED
    assert "I would rather not" in error.value.message


async def test_tokens_are_counted_by_model() -> None:
    observed: list[tuple[str, int, int]] = []
    async with (
        ScriptedEndpoint(in_turn([YES])).serving() as endpoint,
        engine_on(endpoint, adapters={"completion": "tuned"}, observed=observed) as engine,
    ):
        await engine.read_forced(question(COMPLETION))
        await engine.read_forced(question(COMPLETION, adapter="completion"))
    assert observed == [("model", 100, 7), ("tuned", 100, 7)]
    assert [asked.body["model"] for asked in endpoint.asked] == ["model", "tuned"]


def sent(asked: Asked) -> list[tuple[str, object]]:
    """The user's turn: texts, and images as (media type, bytes)."""
    found: list[tuple[str, object]] = []
    for part in asked.body["messages"][0]["content"]:
        if part["type"] == "text":
            found.append(("text", part["text"]))
        else:
            kind, _, data = part["image_url"]["url"].partition(";base64,")
            found.append((kind, base64.b64decode(data)))
    return found


async def test_texts_and_frames_keep_their_order_and_jpeg_and_png_go_as_they_came() -> None:
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    jpeg = simplejpeg.encode_jpeg(pixels, colorspace="RGB")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    first = open_frame(jpeg, Encoding.JPEG, FrameLimits())
    second = open_frame(file.getvalue(), Encoding.PNG, FrameLimits())
    async with (
        ScriptedEndpoint(in_turn([YES])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        await engine.read_forced(
            question(COMPLETION, "A:", FrameSlot(first), "B:", FrameSlot(second))
        )
    assert sent(endpoint.asked[0]) == [
        ("text", "A:"),
        ("data:image/jpeg", jpeg),
        ("text", "B:"),
        ("data:image/png", file.getvalue()),
    ]


@pytest.mark.parametrize(("side", "kind"), [(64, "png"), (600, "jpeg")])
async def test_raw_frames_are_encoded_small_ones_without_loss(side: int, kind: str) -> None:
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    pixels = np.stack([np.broadcast_to(ramp, (side, side))] * 3, axis=-1).copy()
    frame = open_frame(pixels.tobytes(), Encoding.RAW, FrameLimits(), height=side, width=side)
    async with (
        ScriptedEndpoint(in_turn([YES])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        await engine.read_forced(question(COMPLETION, FrameSlot(frame)))
    ((media, data),) = sent(endpoint.asked[0])
    assert media == f"data:image/{kind}"
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(shown - pixels).max() <= (0 if kind == "png" else 8)


async def test_a_video_is_its_frames_with_their_times() -> None:
    video = VideoSlot((grey(shade=1), grey(shade=2)), (0.0, 1.5))
    async with (
        ScriptedEndpoint(in_turn([YES])).serving() as endpoint,
        engine_on(endpoint) as engine,
    ):
        await engine.read_forced(question(COMPLETION, video, "Is it done?"))
    kinds = [text if kind == "text" else kind for kind, text in sent(endpoint.asked[0])]
    assert kinds == ["0.00 s:", "data:image/png", "1.50 s:", "data:image/png", "Is it done?"]
