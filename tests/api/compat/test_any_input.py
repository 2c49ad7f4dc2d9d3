"""Whatever a client sends: a score or a failure, never both, and never the server's own fault."""

from __future__ import annotations

import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.api.compat import lrm_client, robometer_client
from tests.api.compat.test_chat import CHAT, asked, data_url
from tests.api.compat.test_lrm import BASE as LRM
from tests.api.compat.test_robometer import BASE as ROBOMETER
from tests.api.test_any_input import anything, letters, places, replaced

FRAME = lrm_client.image(0, 16, 16)
BODIES: dict[str, Any] = {
    f"{LRM}/compute_reward": lrm_client.reward(FRAME, initial_image=FRAME),
    f"{LRM}/compute_rewards_batch": lrm_client.rewards([FRAME, FRAME]),
    f"{LRM}/compute_completion": {
        "image": lrm_client.nested(FRAME),
        "task_description": lrm_client.TASK,
    },
    f"{LRM}/compute_comparison": lrm_client.comparison(FRAME, FRAME),
    f"{ROBOMETER}/evaluate_batch": robometer_client.body(
        [
            robometer_client.progress(robometer_client.frames(1, side=8)),
            robometer_client.preference(
                robometer_client.frames(1, 1, side=8), robometer_client.frames(1, 2, side=8)
            ),
        ]
    ),
    CHAT: asked(data_url(FRAME, "PNG"), stop=["\n"], seed=3),
}
# Pixels in lists are many places that are all alike.
SHALLOW = {
    path: [place for place in places(body) if len(place) < 6] for path, body in BODIES.items()
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sound body of which one place holds something else, or a name is added."""
    path = draw(st.sampled_from(list(BODIES)))
    body = BODIES[path]
    changed = replaced(body, draw(st.sampled_from(SHALLOW[path])), draw(anything))
    if isinstance(changed, dict) and draw(st.booleans()):
        changed = {**changed, draw(letters): draw(anything)}
    return path, json.dumps(changed).encode()


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=bodies())
async def test_a_body_that_was_changed_is_answered_or_refused(
    still: httpx.AsyncClient, sent: tuple[str, bytes]
) -> None:
    path, content = sent
    answer = await still.post(path, content=content)
    body = answer.json()
    assert '"internal"' not in answer.text
    if path.startswith(LRM):
        assert (answer.status_code == 200) == body["success"]
        assert body["success"] or "score" not in body
    elif path == CHAT:
        assert set(body) == {"error"} or body["choices"]
        assert answer.status_code == 200 or set(body["error"]) == {
            "message",
            "type",
            "param",
            "code",
        }
    else:
        assert (answer.status_code == 200) == ("detail" not in body)
