"""The refit experiment's figures: what each way of refitting gains, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# Frames at the end of a rollout that are filmed, and the most that can be judged.
AT_END: Final = 3
ARMS: Final[Mapping[str, str]] = {
    "none": "no refit",
    "all": "refit on all rollouts",
    "filtered": "refit on those that `lrm filter` keeps",
    "successful": "refit on the truly successful ones",
}
RESAMPLES: Final = 4_000
# What LRM's authors report for their loop on a real robot.
PUBLISHED: Final = (0.383, 0.517)


@dataclass(frozen=True)
class Gain:
    """What an arm gains over another.

    Attributes:
        mean: difference of the success rates.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Selection:
    """What a filter did with one run's rollouts.

    Attributes:
        rollouts: all of them.
        successful: those that end in success.
        kept: by the filter.
        kept_successful: those of them that end in success.
        unjudged: could not be judged, and are not kept.
    """

    rollouts: int
    successful: int
    kept: int
    kept_successful: int
    unjudged: int = 0

    @property
    def precision(self) -> float | None:
        """Share of the kept that are successful; None where none is kept."""
        return self.kept_successful / self.kept if self.kept else None

    @property
    def recall(self) -> float | None:
        """Share of the successful that are kept; None where none is successful."""
        return self.kept_successful / self.successful if self.successful else None


def paired_gain(
    arm: NDArray[np.bool_], base: NDArray[np.bool_], resamples: int = RESAMPLES, seed: int = 0
) -> Gain:
    """The gain of an arm over a base, with a paired bootstrap interval.

    Runs and evaluation seeds are both drawn anew, so that the interval covers other policies and
    other scenes; a drawn pair brings both arms' outcomes.

    Args:
        arm: success by run and evaluation seed, bool (R, E).
        base: the other's, on the same runs and seeds.
        resamples: how many.
        seed: of the bootstrap.
    """
    difference = arm.astype(np.float64) - base.astype(np.float64)
    rng = np.random.default_rng(seed)
    runs, seeds = difference.shape
    drawn = [
        difference[np.ix_(rng.integers(0, runs, runs), rng.integers(0, seeds, seeds))].mean()
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Gain(float(difference.mean()), float(low), float(high))


def figures(
    ends: Mapping[str, Sequence[Sequence[bool]]], selections: Sequence[Selection]
) -> dict[str, Any]:
    """A task's figures, as JSON takes them.

    Args:
        ends: arm -> for each run, success by evaluation seed.
        selections: of each run.
    """
    arrays = {arm: np.array(runs, dtype=bool) for arm, runs in ends.items()}
    arms = {}
    for arm, array in arrays.items():
        rates = array.mean(axis=1)
        gain = paired_gain(array, arrays["none"])
        arms[arm] = {
            "rates": [round(float(rate), 4) for rate in rates],
            "mean": round(float(rates.mean()), 4),
            "spread": round(float(rates.std(ddof=1)) if len(rates) > 1 else 0.0, 4),
            "gain": [round(value, 4) for value in (gain.mean, gain.low, gain.high)],
        }
    versus_all = paired_gain(arrays["filtered"], arrays["all"])
    return {
        "arms": arms,
        "filtered_over_all": [
            round(value, 4) for value in (versus_all.mean, versus_all.low, versus_all.high)
        ],
        "selections": [
            {
                "rollouts": one.rollouts,
                "successful": one.successful,
                "kept": one.kept,
                "kept_successful": one.kept_successful,
                "unjudged": one.unjudged,
                "precision": one.precision,
                "recall": one.recall,
            }
            for one in selections
        ],
    }


def as_markdown(result: Mapping[str, Any]) -> str:
    """The tables of a result that `refit` wrote."""
    settings = result["settings"]
    lines = [
        "# What filtering gains a cloned policy",
        "",
        f"A weak clone of the planner rolls out {settings['rollouts']} episodes; they are judged "
        f"by the completion head (mean of the last {settings['last']} frames, threshold "
        f"{settings['threshold']:g}), and the policy is trained anew on its demonstrations and "
        f"the kept episodes. {settings['runs']} runs (weights and rollouts differ), "
        f"{settings['evaluations']} evaluation seeds, the same for all arms. The spread is the "
        "standard deviation over runs; the interval is a paired bootstrap over runs and seeds. "
        "The simulator's success flag decides on the evaluation and on the last arm, on nothing "
        "else.",
        "",
        f"Checkpoint: `{settings['checkpoint']}`, fingerprint `{settings['fingerprint']}`.",
    ]
    for env_id, task in result["tasks"].items():
        lines += [
            "",
            f"## {env_id}",
            "",
            "| policy | success, mean | spread | gain over no refit [95 % interval] |",
            "|---|---|---|---|",
        ]
        for arm, title in ARMS.items():
            row = task["arms"][arm]
            gain = "" if arm == "none" else _gain(row["gain"])
            lines.append(f"| {title} | {row['mean']:.1%} | {row['spread']:.1%} | {gain} |")
        lines += ["", f"Filtered over all: {_gain(task['filtered_over_all'])}.", ""]
        lines += [
            "| run | rollouts | successful | kept | of these successful | precision | recall |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {run + 1} | {one['rollouts']} | {one['successful']} | {one['kept']} | "
            f"{one['kept_successful']} | {_share(one['precision'])} | {_share(one['recall'])} |"
            for run, one in enumerate(task["selections"])
        ]
        lines += ["", *_why_not(task)] if task["arms"]["filtered"]["gain"][1] <= 0 else []
    before, after = PUBLISHED
    lines += [
        "",
        "## Beside the published figures",
        "",
        f"LRM reports {before:.1%} before and {after:.1%} after its loop of rollouts, selection "
        "and refitting on a real robot, judged by adapters of an 8-billion-parameter model. Here "
        "the policy is a small network that sees the simulator's state, the judge a small model "
        "that sees rendered frames of tasks that it was trained on, and success the simulator's "
        "flag at the last step. Both ask whether the judge's selection helps the policy; the "
        "rates themselves do not compare.",
        "",
    ]
    return "\n".join(lines)


def _why_not(task: Mapping[str, Any]) -> list[str]:
    """What the selection lacks, where the interval of its gain holds zero."""
    kept, good, won = (
        sum(one[name] for one in task["selections"])
        for name in ("kept", "kept_successful", "successful")
    )
    if not kept or not won:
        return ["Filtering shows no gain here: nothing was kept, or nothing succeeded."]
    return [
        f"Filtering shows no gain here: {(kept - good) / kept:.0%} of the kept rollouts failed, "
        f"which teaches the failure, and {(won - good) / won:.0%} of the successful ones were "
        "dropped. With a judge that makes no mistake the gain over no refit is "
        f"{_gain(task['arms']['successful']['gain'])}.",
    ]


def _gain(values: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in values)
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
