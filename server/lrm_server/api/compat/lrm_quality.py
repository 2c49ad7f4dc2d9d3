"""LRM's reward types other than progress: its service asks how well the robot does.

Its service guesses a number in whatever the model writes. Here the answer must be a number
and nothing else, or the JSON of the progress head; any other answer is an error.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from lrm_server.api.arrival import Arrival
from lrm_server.api.calls import Calls
from lrm_server.engine.protocol import Conversation, FrameSlot, Message
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.profile import Role
from lrm_server.heads.query import Query

MOST_TOKENS: Final = 128
_PROMPT: Final = """Task: {task}

Evaluate how well the robot is performing this task.
Output a score between 0.0 (poor) and 1.0 (excellent)."""
_KEY: Final = "completion_progress"
_NUMBER: Final = re.compile(r"(?:Score: *)?([01](?:\.\d+)?)\.?")


async def judged_quality(calls: Calls, query: Query, arrival: Arrival) -> dict[str, Any]:
    """``score`` and ``response`` of one image.

    Raises:
        DomainError: the conversation failed, or ANSWER_UNPARSABLE.
    """
    prompt = _PROMPT.replace("{task}", query.task)
    frame = FrameSlot(query.frames[Role.CURRENT], "image")
    written = await calls.converse(
        Conversation(
            messages=(Message("user", (prompt, frame)),),
            max_tokens=MOST_TOKENS,
            temperature=0.0,
            deadline=query.deadline,
        ),
        arrival,
    )
    return {"score": _score(written.text), "response": written.text}


def _score(text: str) -> float:
    """The number that an answer is.

    Raises:
        DomainError: ANSWER_UNPARSABLE; numbers in prose are never guessed at.
    """
    answer = text.strip()
    number = _NUMBER.fullmatch(answer)
    score: Any = float(number[1]) if number else None
    if score is None:
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            found = None
        score = found.get(_KEY) if isinstance(found, dict) else None
    if isinstance(score, bool) or not isinstance(score, (int, float)) or not 0 <= score <= 1:
        raise DomainError(
            ErrorCode.ANSWER_UNPARSABLE,
            f"the model was asked for a score between 0.0 and 1.0 and wrote {answer[-80:]!r}. Ask "
            'for the reward_type "progress", which is read and not written.',
        )
    return float(score)
