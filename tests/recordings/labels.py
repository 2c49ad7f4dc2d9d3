"""Any labels, for hypothesis."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lrm_server.recordings.episode import RecordedEpisode
from tests.recordings.made import grey

TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12
)
TASKS = TEXT.filter(lambda text: bool(text.strip()))
NUMBERS = st.floats(-1e6, 1e6)


@st.composite
def labelled(draw: st.DrawFn, name: str) -> RecordedEpisode:
    """An episode of 1 to 5 frames, with or without each of the labels."""
    count = draw(st.integers(1, 5))
    steps = np.cumsum(draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))) - 1

    def column(values: st.SearchStrategy[object], dtype: type) -> np.ndarray | None:
        if not draw(st.booleans()):
            return None
        return np.asarray(draw(st.lists(values, min_size=count, max_size=count)), dtype)

    done = column(st.booleans(), np.bool_)
    success = draw(st.none() | st.booleans()) if done is None else bool(done[-1])
    return RecordedEpisode(
        id=name,
        task=draw(TASKS),
        frames=[grey(int(step) % 256, 8, 8) for step in steps],
        steps=steps.astype(np.int64),
        length=int(steps[-1]) + draw(st.integers(0, 3)),
        success=success,
        done=done,
        progress=column(st.floats(0, 1), np.float64),
        rewards=column(NUMBERS, np.float64),
        fps=draw(st.none() | st.floats(0.5, 200)),
        group=draw(st.just("") | TEXT),
        kind=draw(st.just("") | TEXT),
        seed=draw(st.none() | st.integers(0, 2**31)),
        columns={
            "action": np.asarray(
                draw(
                    st.lists(
                        st.lists(NUMBERS, min_size=2, max_size=2), min_size=count, max_size=count
                    )
                )
            )
        },
    )


def labelled_episodes() -> st.SearchStrategy[list[RecordedEpisode]]:
    return st.integers(1, 3).flatmap(
        lambda count: st.tuples(*(labelled(f"episode_{i}") for i in range(count))).map(list)
    )
