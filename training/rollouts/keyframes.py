"""Which steps of a rollout are worth rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TENTHS: Final = np.linspace(0.0, 1.0, 11)
# Shortly before success: the frames that tell a detector of success from one of nearness.
BEFORE_SUCCESS: Final = (0.85, 0.95)


def first_success(success: NDArray[np.bool_]) -> int | None:
    """The first step with the success flag set, or None."""
    steps = np.flatnonzero(success)
    return int(steps[0]) if len(steps) else None


def key_steps(success: NDArray[np.bool_], rng: np.random.Generator) -> list[int]:
    """Chooses the steps to render of a rollout with success flags bool (T,).

    Tenths from the first step to the first success and two shortly before it, then the last step;
    of a rollout that ends without success tenths of the whole (its own first success too, if it had
    one), and two more at random.
    """
    last, done = len(success) - 1, first_success(success)
    if done is not None and success[last]:
        steps = np.concatenate([TENTHS * done, np.array(BEFORE_SUCCESS) * done, [last]])
    else:
        steps = np.concatenate([TENTHS * last, rng.integers(0, last + 1, 2)])
        if done is not None:
            steps = np.concatenate([steps, [done, 0.95 * done, (done + last) / 2]])
    return sorted({round(float(step)) for step in steps})


def every(stride: int, steps: int) -> list[int]:
    """Every `stride`-th step of 0 .. steps - 1, the last one included."""
    return sorted({*range(0, steps, stride), steps - 1})
