"""Writes the embedded checkpoint's model card from the evaluation's figures.

`python -m training.card --figures figures.json --to FOLDER/README.md`
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from training.architecture import MAX_PIXELS, TEXT, VISION
from training.evaluate import TITLES
from training.rollouts.features import Track
from training.rollouts.look import AZIMUTH_DEG
from training.rollouts.store import load, paths
from training.tasks import TASKS

CARD: Final = """\
# The embedded checkpoint

A small model of the Qwen3-VL architecture that answers LRM's three questions about table-top
scenes of a simulated robot arm: which of two frames is further (contrastive), how far the task has
come (progress), whether it is done (completion). It ships with the package so that the whole path,
from a frame to a reward, runs anywhere with the same engine, prompts and readouts as the large
checkpoints. It knows {task_count} simulated tasks and little else: for another robot, scene or
task, serve another checkpoint, and audit it first (`lrm audit`).

## Model

`Qwen3VLForConditionalGeneration`, random at first, {parameters} million parameters in bfloat16.
Decoder: {layers} layers of {hidden}; vision tower: {depth} blocks of {vision_hidden}, one DeepStack
level, patches of {patch} pixels. Frames are scaled to at most {side} x {side} pixels. The tokenizer
is its own: byte-level BPE in which each constant sentence of LRM's prompts, and each label, is one
token.

All three readouts work: likelihood (the default everywhere), reason then read, and generate. Asked
freely, it writes a short analysis before a comparison and answers the other two questions at once.

## Data

Attempts at {task_count} tasks of ManiSkill, rendered at {side} x {side} pixels. Cameras (from the
task's own place to {azimuth:.0f} degrees around it), light and the table's surface vary from
episode to episode:

{tasks}

Most attempts are of ManiSkill's motion planner, about half of them undisturbed; the others miss the
object, knock it away, drop it, put it in the wrong place, halt, shake, or undo their success. The
rest are of policies of several strengths that were cloned from the planner and run with noise and
disturbances. Progress of an expert's success runs with time, from the first step to the first
success; of every other attempt it is a potential of the simulator's state that is calibrated on the
experts. Sentences are paraphrased and wrapped in phrases; some frames are asked about a task that
they do not show. No data from real robots, and none from other sources.

Trained on: {episodes}.

## Figures

Seeds that no training saw; the training was tuned with an eye on these figures, though. In
brackets: what answering at random, and what answering by time alone (the step's number, knowing
how long the task takes) would get. Scored by {scored_by}.

{sections}

- Progress MAE: the most probable label against the true progress, over all frames but the first.
- Direction accuracy: two frames about a tenth of the episode apart whose progress differs, asked in
  both orders; a tie counts as wrong.
- Completion AUC: finished frames against the last frames of failures and the frames shortly before
  success.
- VOC: Spearman's correlation of said (expected) progress with time on successes, up to their first
  success, mean over episodes.

Where time alone does well it is because the planner always takes about as long: the model never
sees the time, and a policy under training does not keep the planner's pace.

## Limits

- A robot that it has never seen, a real camera, other objects: expect nothing. The tasks that were
  kept out show how far it carries within the same simulator.
- A cube is about five pixels wide: what a hand hides, or what is decided by a few millimetres, it
  cannot see. "Done" is a matter of millimetres and of standing still, so frames just before success
  are often taken for it.
- Tasks are told apart mostly by what is in the scene; an unknown sentence gets an answer all the
  same.
"""

SECTION: Final = """\
### {title}

{episodes} episodes, {successes} of them successes.

| task | progress MAE | same, expected value | direction accuracy | completion AUC | VOC |
|---|---|---|---|---|---|
{rows}
"""


def _row(name: str, part: dict[str, Any]) -> str:
    order = part.get("value_order")
    cells = (
        name,
        _cell(part.get("progress_mae"), "label"),
        f"{part['progress_mae']['expected']:.3f}",
        _cell(part.get("direction_accuracy"), "model"),
        _cell(part.get("completion_auc"), "model"),
        f"{order['spearman']:.3f}" if order else "-",
    )
    return f"| {' | '.join(cells)} |"


def _cell(part: dict[str, float] | None, key: str) -> str:
    """The model's figure, at random and by time; a dash for what could not be computed."""
    return f"{part[key]:.3f} ({part['random']:.3f}, {part['time']:.3f})" if part else "-"


def _section(name: str, result: dict[str, Any]) -> str:
    rows = [_row(env_id, part) for env_id, part in result["tasks"].items()]
    rows.append(_row("**all**", result["overall"]))
    title = TITLES[name]
    return SECTION.format(
        title=title[0].upper() + title[1:],
        episodes=result["episodes"],
        successes=result["successes"],
        rows="\n".join(rows),
    )


def write(figures: dict[str, Any], parameters: int, trained_on: str) -> str:
    """The card's text.

    Args:
        figures: what training.evaluate wrote.
        parameters: how many the model has.
        trained_on: a sentence on how much data.
    """
    return CARD.format(
        parameters=f"{parameters / 1e6:.1f}",
        layers=TEXT["num_hidden_layers"],
        hidden=TEXT["hidden_size"],
        depth=VISION["depth"],
        vision_hidden=VISION["hidden_size"],
        patch=VISION["patch_size"],
        side=round(MAX_PIXELS**0.5),
        task_count=len(TASKS),
        azimuth=AZIMUTH_DEG,
        tasks="\n".join(f"- {task.env_id}: {task.text}." for task in TASKS),
        episodes=trained_on,
        scored_by=figures["scored_by"],
        sections="\n".join(_section(name, part) for name, part in figures["sets"].items()).rstrip(),
    )


def training_data(root: Path) -> str:
    """A sentence on the rollouts under `root` that training may see."""
    names = {task.env_id for task in TASKS}
    episodes = frames = successes = cloned = 0
    for path in paths(root):
        rollout = load(path)
        if not rollout.held_out and rollout.env_id in names:
            episodes += 1
            frames += len(rollout.steps)
            cloned += rollout.kind.startswith("clone")
            successes += bool(Track.from_rows(rollout.rows).success[-1])
    share = f"{successes / max(episodes, 1):.0%}"
    return (
        f"{episodes:,} attempts, {cloned:,} of them of cloned policies; {frames:,} frames, {share} "
        "of the attempts successful"
    )


def parameter_count(weights: Path) -> int:
    """How many parameters a safetensors file holds."""
    with safe_open(weights, framework="pt") as file:
        names = list(file.keys())
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="README.md of a checkpoint's folder")
    parser.add_argument("--data", type=Path, default=Path("data/rollouts"))
    args = parser.parse_args()
    figures = json.loads(args.figures.read_text())
    parameters = parameter_count(args.to.parent / "model.safetensors")
    args.to.write_text(write(figures, parameters, training_data(args.data)))


if __name__ == "__main__":
    main()
