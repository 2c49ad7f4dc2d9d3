"""Robometer's paths when a sample is wrong: it is named, and the others are answered."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lrm_server.api.compat.arrays import MOST_HEADER_BYTES, npy_frames
from lrm_server.errors import DomainError
from lrm_server.frames import FrameLimits
from tests.api.compat import robometer_client as robometer
from tests.api.compat.service import CompatEngine, post, running
from tests.api.compat.test_robometer import BASE

GOOD = robometer.frames(2, 7)
LIMITS = FrameLimits(max_bytes=64 * 1024)


class Trap:
    """Unpickling it is seen."""

    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Trap, "sprung", True))


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    form = "<H" if version == b"\x01\x00" else "<I"
    return b"\x93NUMPY" + version + struct.pack(form, len(text)) + text.encode()


def described(shape: Any, descr: str = "|u1") -> bytes:
    return header(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}")


WHOLE = robometer.npy(GOOD)
BAD_FILES = {
    "nothing": (b"", "no .npy file"),
    "text": (b"hello", "no .npy file"),
    "a zip": (b"PK\x03\x04" + b"\x00" * 64, "no .npy file"),
    "a header alone": (WHOLE[:64], "no .npy file"),
    "truncated": (WHOLE[:-1], "truncated"),
    "too long": (WHOLE + b"\x00", "truncated or its header is wrong"),
    "objects": (robometer.npy(np.array([Trap()], dtype=object)), "pickle"),
    "a bare pickle": (pickle.dumps(Trap()), "no .npy file"),
    "floats": (robometer.npy(GOOD.astype(np.float32)), "holds 'float32'"),
    "signed": (robometer.npy(GOOD.astype(np.int8)), "holds 'int8'"),
    "grey": (robometer.npy(GOOD[..., 0]), "frames have the shape"),
    "four channels": (robometer.npy(np.zeros((2, 32, 32, 4), np.uint8)), "frames have the shape"),
    "channels first": (robometer.npy(GOOD.transpose(0, 3, 1, 2)), "frames have the shape"),
    "no frames": (robometer.npy(GOOD[:0]), "frames have the shape"),
    "one number": (robometer.npy(np.uint8(3)), "frames have the shape"),
    "negative": (described((-1, 32, 32, 3)) + b"\x00" * 32, "frames have the shape"),
    "huge": (described((10**15, 10**15, 10**15, 3)), "a number of more than 12 digits frames"),
    "a huge frame": (described((1, 10**6, 10**6, 3)), "the frame has a number of more than"),
    "tiny frames": (robometer.npy(GOOD[:, :4, :4]), "each side needs at least"),
    "a huge header": (header(" " * (MOST_HEADER_BYTES + 1)), "no .npy file"),
    "a header of 4 GiB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 99, "no .npy file"),
    "a nested header": (header("(" * 4000), "no .npy file"),
    "a header that calls": (header("__import__('os').abort()"), "no .npy file"),
    "a later version": (header("{}", b"\x03\x00"), "no .npy file"),
    "a wrong shape": (described("many"), "no .npy file"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_wrong_is_refused_unread(kind: str) -> None:
    content, said = BAD_FILES[kind]
    with pytest.raises(DomainError) as caught:
        npy_frames(content, LIMITS, 8)
    assert said in caught.value.message
    assert not Trap.sprung


def test_frames_are_views_of_the_file() -> None:
    first, second = npy_frames(WHOLE, LIMITS, 8)
    assert np.shares_memory(first.pixels(), np.frombuffer(WHOLE, np.uint8))
    np.testing.assert_array_equal(second.pixels(), GOOD[1])


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    at=st.integers(0, 160),
    change=st.binary(min_size=1, max_size=12),
    cut=st.integers(0, len(WHOLE)),
)
def test_a_file_that_was_damaged_is_read_or_refused(at: int, change: bytes, cut: int) -> None:
    damaged = (WHOLE[:at] + change + WHOLE[at + len(change) :])[: cut or None]
    # Whatever else were raised would fail the test.
    with contextlib.suppress(DomainError):
        assert sum(frame.nbytes for frame in npy_frames(damaged, LIMITS, 8)) <= len(damaged)


@pytest.mark.parametrize("kind", BAD_FILES)
async def test_a_sample_whose_file_is_wrong_leaves_the_others_their_answers(
    still: httpx.AsyncClient, kind: str
) -> None:
    sent = robometer.form([robometer.progress(GOOD)] * 3)
    name = "sample_1_trajectory_frames"
    sent["files"][name] = (f"{name}.npy", BAD_FILES[kind][0], "application/octet-stream")
    answer = await post(still, f"{BASE}/evaluate_batch_npy", **sent)
    # Their client raises on this status, where it would take a null for a progress of 0.
    assert answer.status_code in (400, 413)
    body = answer.json()
    assert body["detail"].startswith("1 of 3 samples failed; sample 1: sample_1.trajectory.frames")
    (error,) = body["errors"]
    assert error["sample"] == 1
    progress = body["outputs_progress"]["progress_pred"]
    assert progress[1] is None
    assert len(progress[0]) == len(progress[2]) == 2
    assert body["outputs_success"]["success_probs"][1] is None


def without(sample: dict[str, Any], *path: str) -> dict[str, Any]:
    copy = json.loads(json.dumps(sample, default=lambda array: array.tolist()))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


def replaced(**changes: Any) -> dict[str, Any]:
    sample = robometer.progress(GOOD)
    sample["trajectory"] |= changes
    return sample


LISTS = {
    "no frames": (replaced(frames=[]), "there are 0 frames"),
    "paths": (replaced(frames=["/etc/passwd"]), "never opened"),
    "a URL": (replaced(frames="https://example.org/film.mp4"), "paths and URLs are not read"),
    "no file": (replaced(frames={"__numpy_file__": "other"}), "no .npy file 'other'"),
    "ragged": (replaced(frames=[[[[1, 2, 3]], [[1, 2]]]]), "different lengths"),
    "fractions": (replaced(frames=(GOOD / 255.0).tolist()), "whole numbers"),
    "words": (replaced(frames=[[[["1", "2", "3"]]]]), "whole numbers"),
    "too bright": (replaced(frames=(GOOD.astype(int) + 200).tolist()), "not in [0, 255]"),
    "negative": (replaced(frames=(GOOD.astype(int) - 255).tolist()), "not in [0, 255]"),
    "sizes": (
        replaced(frames=[GOOD[0].tolist(), robometer.frames(1, 0, 48)[0].tolist()]),
        "different sizes",
    ),
    "count": (replaced(frames_shape=[3, 32, 32, 3]), "frames_shape is [3, 32, 32, 3]"),
    "no task": (without(robometer.progress(GOOD), "trajectory", "task"), "the task is None"),
    "no trajectory": (without(robometer.progress(GOOD), "trajectory"), "trajectory is None"),
    "no kind": (without(robometer.progress(GOOD), "sample_type"), "sample_type is None"),
    "another kind": (
        {**robometer.progress(GOOD), "sample_type": "similarity"},
        "sample_type is 'similarity'",
    ),
    "no object": (17, "a sample is an object"),
    "half a preference": (
        without(robometer.preference(GOOD, GOOD), "rejected_trajectory"),
        "rejected_trajectory is None",
    ),
    "sizes of a preference": (
        robometer.preference(GOOD, robometer.frames(2, 0, side=64)),
        "different sizes",
    ),
    "an empty task": (replaced(task=" "), "the task is empty"),
}


@pytest.mark.parametrize("kind", LISTS)
async def test_a_sample_that_is_wrong_leaves_the_others_their_answers(
    still: httpx.AsyncClient, kind: str
) -> None:
    sample, said = LISTS[kind]
    sent = robometer.body([robometer.progress(GOOD), sample])
    answer = await post(still, f"{BASE}/evaluate_batch", json=sent)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["sample"] == 1
    assert said in error["detail"]
    assert len(answer.json()["outputs_progress"]["progress_pred"][0]) == 2


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"json": {"sample_0": {}}}, "send a form"),
        ({"data": {"use_frame_steps": "true"}, "files": {"x": b"1"}}, "send the samples"),
        ({"data": {"sample_1": "{}"}, "files": {"x": b"1"}}, "send the samples as sample_0"),
        ({"data": {"sample_0": "{}", "other": "1"}, "files": {"x": b"1"}}, "send the samples"),
        ({"data": {"sample_0": "{}", "use_frame_steps": "yes"}, "files": {"x": b"1"}}, "'yes'"),
    ],
)
async def test_a_form_that_is_wrong_is_refused(
    still: httpx.AsyncClient, sent: dict[str, Any], said: str
) -> None:
    answer = await post(still, f"{BASE}/evaluate_batch_npy", **sent)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "send a JSON object"),
        (b"{}", "samples is missing"),
        (b'{"samples": []}', "samples: samples is []"),
        (b'{"samples": [{}], "use_frame_steps": "true"}', "use_frame_steps"),
    ],
)
async def test_a_body_that_is_wrong_is_refused(
    still: httpx.AsyncClient, content: bytes, said: str
) -> None:
    answer = await still.post(f"{BASE}/evaluate_batch", content=content)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_frames_beyond_the_limit_of_a_request_are_refused(engine: CompatEngine) -> None:
    sent = robometer.form([robometer.progress(robometer.frames(count)) for count in (3, 3)])
    async with running(engine, max_batch=4) as http:
        answer = await post(http, f"{BASE}/evaluate_batch_npy", **sent)
    (error,) = answer.json()["errors"]
    assert (error["sample"], answer.status_code) == (1, 400)
    assert "3 frames" in error["detail"]


async def test_a_sample_of_broken_json_is_named(still: httpx.AsyncClient) -> None:
    sent = robometer.form([robometer.progress(GOOD)] * 2)
    sent["data"]["sample_0"] = "{"
    answer = await post(still, f"{BASE}/evaluate_batch_npy", **sent)
    (error,) = answer.json()["errors"]
    assert error["detail"].startswith("sample_0: the sample is not JSON")


async def test_errors_of_the_door_have_the_form_that_its_client_shows(
    engine: CompatEngine,
) -> None:
    async with running(engine, max_message_mib=1) as http:
        answer = await http.post(f"{BASE}/evaluate_batch", content=b" " * (1 << 20) + b"{}")
        assert answer.status_code == 413
        assert "max_message_mib" in answer.json()["detail"]
        assert (await http.get(f"{BASE}/nothing")).json()["detail"]
