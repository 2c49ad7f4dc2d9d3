"""Writes a checkpoint's manifest with its canary: `python -m training.canary FOLDER`.

The canary is one bundled frame pair and what the checkpoint says about it through the server's
engine; a server asks the same before it reports ready.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

import yaml

from lrm_server.heads.manifest import MANIFEST_NAME
from training.frame_folders import read_all
from training.scoring import Query
from training.scoring_engine import engine_scorer

ROLLOUTS: Final = Path(__file__).parents[1] / "server" / "lrm_server" / "demo" / "rollouts"
EPISODE: Final = "PickCube-v1"
FIGURES: Final = Path(__file__).parent / "figures.json"
# Far enough apart in progress that no number type turns an answer round.
SHARES: Final = {"initial": 0.0, "previous": 0.3, "current": 0.75}
ROLES: Final = {
    "contrastive": ("previous", "current"),
    "progress": ("initial", "current"),
    "completion": ("current",),
}
TOLERANCE: Final = 0.1


def description(figures: dict[str, Any]) -> str:
    """One sentence with the figures of the evaluation."""
    planner = figures["sets"]["planner"]
    overall = planner["overall"]
    return (
        f"A small Qwen3-VL trained on rendered rollouts of {len(planner['tasks'])} simulated "
        f"table-top tasks ({', '.join(planner['tasks'])}); it knows nothing else. On "
        f"{planner['episodes']} unseen episodes, successes and failures: progress error "
        f"{overall['progress_mae']['label']:.3f}, direction accuracy "
        f"{overall['direction_accuracy']['model']:.3f}, completion AUC "
        f"{overall['completion_auc']['model']:.3f}."
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--id", default="lrm-embedded-2")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    args = parser.parse_args()
    folder: Path = args.checkpoint
    episode = next(e for e in read_all(ROLLOUTS) if e.env_id == EPISODE and e.success)
    (folder / "canary").mkdir(exist_ok=True)
    chosen: dict[str, bytes] = {}
    for role, progress in SHARES.items():
        index = min(
            range(len(episode.frames)),
            key=lambda at: abs(episode.frames[at].progress - progress),
        )
        chosen[role] = episode.jpeg(index)
        (folder / "canary" / f"{role}.jpg").write_bytes(chosen[role])
    queries = [
        Query(head, episode.task, {role: chosen[role] for role in roles})
        for head, roles in ROLES.items()
    ]
    with engine_scorer(folder) as score:
        answers = score(queries)
    manifest = {
        "id": args.id,
        "description": description(json.loads(args.figures.read_text())),
        "heads": {
            head: {"profile": f"lrm_{head}", "readout": "likelihood"} for head in [*ROLES, "tri"]
        },
        "canary": {
            "tolerance": TOLERANCE,
            "queries": [
                {
                    "head": query.head,
                    "task": query.task,
                    "frames": {role: f"canary/{role}.jpg" for role in query.frames},
                    "probabilities": {label: round(p, 4) for label, p in answer.items()},
                }
                for query, answer in zip(queries, answers, strict=True)
            ],
        },
    }
    text = yaml.safe_dump(manifest, sort_keys=False, width=100)
    (folder / MANIFEST_NAME).write_text(text, "utf-8")
    print(text)  # noqa: T201 - the command's result


if __name__ == "__main__":
    main()
