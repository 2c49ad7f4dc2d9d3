"""Labels of a rollout's frames: progress, completion and what a frame shows.

A successful expert's progress runs with time, from its first step to its first success. Every other
attempt gets the potential of its state, which is calibrated on the experts, so that both agree
where they meet.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np

from training.analysis import Fact
from training.rollouts.features import Track
from training.rollouts.keyframes import first_success
from training.rollouts.potential import Calibration, calibrate, potential
from training.rollouts.stages import stages
from training.rollouts.store import load, paths
from training.tasks import TASK_BY_ID

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.rollouts.store import Rollout

# Attempts that nothing disturbs, or hardly.
EXPERTS: Final = ("expert", "trembling")
# Within these fractions of a stage a reasoned answer says "holds", and "close to".
JUST_GRASPED: Final = 0.15
NEARLY_THERE: Final = 0.75
# A hand this near (metres) is near.
NEAR: Final = 0.055

Calibrations = dict[str, Calibration]


def calibrate_all(root: Path) -> Calibrations:
    """Learns every task's calibration from the training experts under `root`."""
    experts: dict[str, list[Track]] = {}
    for path in paths(root):
        rollout = load(path)
        if rollout.kind in EXPERTS and not rollout.held_out:
            experts.setdefault(rollout.env_id, []).append(Track.from_rows(rollout.rows))
    return {env_id: calibrate(env_id, tracks) for env_id, tracks in experts.items()}


def save_calibrations(calibrations: Calibrations, path: Path) -> None:
    """Writes calibrations as JSON."""
    path.write_text(
        json.dumps({env_id: item.to_json() for env_id, item in calibrations.items()}, indent=1)
        + "\n"
    )


def load_calibrations(path: Path) -> Calibrations:
    """Reads what save_calibrations wrote."""
    return {
        env_id: Calibration.from_json(item) for env_id, item in json.loads(path.read_text()).items()
    }


def by_time(track: Track) -> NDArray[np.float64] | None:
    """An expert's progress by time, float64 (T,).

    None for an attempt that does not succeed or does not stay so.
    """
    done = first_success(track.success)
    if done is None or done == 0 or not track.success[-1]:
        return None
    return np.minimum(np.arange(len(track.success)) / done, 1.0)


def progress(rollout: Rollout, calibration: Calibration) -> NDArray[np.float64]:
    """Progress of every step of a rollout, float64 (T,) in [0, 1]."""
    track = Track.from_rows(rollout.rows)
    timed = by_time(track) if rollout.kind in EXPERTS else None
    return potential(rollout.env_id, track, calibration) if timed is None else timed


def facts(env_id: str, track: Track) -> list[Fact]:
    """What each step shows, in words' terms."""
    marks = stages(env_id, track)
    last = len(marks.spans) - 1
    with_tool = TASK_BY_ID[env_id].with_tool
    held = track.other if with_tool else track.thing
    near = np.linalg.norm(track.tcp - held, axis=-1) < NEAR
    found = []
    for index in range(len(track.success)):
        stage, fraction = int(marks.stage[index]), float(marks.fraction[index])
        if track.success[index]:
            found.append(Fact.DONE)
        elif stage < 2:
            grasped_yet = bool(track.grasped[index])
            found.append(Fact.GRASPED if grasped_yet else Fact.NEAR if near[index] else Fact.AWAY)
        elif stage == last and fraction > NEARLY_THERE:
            found.append(Fact.AT_GOAL)
        elif track.grasped[index] and (
            # A tool that is carried does not move the object yet.
            (with_tool and stage < last) or (stage == 2 and fraction < JUST_GRASPED)
        ):
            found.append(Fact.GRASPED)
        else:
            found.append(Fact.UNDER_WAY)
    return found
