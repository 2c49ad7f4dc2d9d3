"""How many objects of some classes live, for tests that nothing is kept."""

from __future__ import annotations

import gc
from collections import Counter

from lrm_server.engine.protocol import Question
from lrm_server.episodes.state import Episode
from lrm_server.episodes.types import EpisodeSpec, EpisodeStep, StepAnswer
from lrm_server.frames import Frame
from lrm_server.heads.query import Query, Reply

STATE = (Episode, EpisodeSpec, EpisodeStep, Frame, Query, Question, Reply, StepAnswer)
"""What a server makes for its callers."""


def alive() -> Counter[str]:
    """Objects of ``STATE`` that something holds, by the names of their classes."""
    gc.collect()
    # By their types: some objects answer isinstance with a warning.
    kinds = map(type, gc.get_objects())
    return Counter(kind.__name__ for kind in kinds if issubclass(kind, STATE))
