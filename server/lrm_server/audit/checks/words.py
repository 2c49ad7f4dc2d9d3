"""Whether the task is heard: the same in other words, and another task altogether."""

from __future__ import annotations

from collections import Counter

from lrm_server.audit.checks.changes import ChangeCheck
from lrm_server.audit.checks.common import (
    by_episode,
    collect,
    mean_of,
)
from lrm_server.audit.evidence import Evidence
from lrm_server.audit.findings import (
    AbsentError,
    Details,
    Finding,
    Measure,
    NotComputableError,
    Verdict,
    measure,
)
from lrm_server.audit.thresholds import Thresholds

PARAPHRASES = "paraphrases"
PARAPHRASES_QUESTION = "Do answers stay the same when the task is said in other words?"
WORDINGS = ChangeCheck(
    PARAPHRASES,
    PARAPHRASES_QUESTION,
    progress="words.paraphrase_progress",
    flips="words.paraphrase_flips",
    kind="wording",
    table="Each wording against the task as it is",
    advice="Use the wording that the model was trained with.",
    show=repr,
)
WRONG = "wrong task"
WRONG_QUESTION = "Is a finished scene called unfinished for another task?"


def check_paraphrases(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """The worst wording by change of progress and by flipped answers."""
    return WORDINGS.run(evidence.paraphrases, thresholds)


def check_wrong_task(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """Of finished frames that are seen as such, how many another task is found done in."""
    if not evidence.wrong_tasks:
        raise NotComputableError(
            "there is no other task to ask about finished frames: name some with --wrong-task, and "
            "have labelled successes"
        )
    said: list[str] = []
    rows: list[tuple[str, str, str]] = []

    def fooled(head: str, threshold: float, meaning: str) -> Measure:
        # Only a frame that is seen as finished for its own task can fool.
        seen = [
            c
            for c in evidence.wrong_tasks
            if c.head == head and c.answered and (c.plain.score or 0.0) >= threshold
        ]
        groups = by_episode(seen, lambda c: float((c.changed.score or 0.0) >= threshold))
        rows.extend(
            (c.task, head, c.episode)
            for c in seen
            if c.answered and (c.changed.score or 0.0) >= threshold
        )
        if not groups:
            raise AbsentError(f"{head} finds no finished frame done for its own task")
        figure = mean_of(f"words.fooled_{head}", groups)
        said.append(f"{figure.value:.0%} by {head} (of {len(groups)} frames)")
        return measure(thresholds, f"words.fooled_{head}", meaning, figure)

    done, half = thresholds["called_score"], thresholds["fooled_progress"]
    measures, verdict, missing = collect(
        lambda: fooled("completion", done, "finished frames called done for another task"),
        lambda: fooled("progress", half, f"finished frames at {half} or more for another task"),
    )
    sentence = f"Asked about a task that nobody did, it finds it done: {', '.join(said)}."
    if rows:
        (task, count), *_ = Counter(task for task, _, _ in rows).most_common(1)
        sentence += f" Most often {task!r} ({count} of {len(rows)} times)."
    advice = (
        ""
        if verdict is Verdict.PASS
        else "It does not always hear the task: train on one task at a time, and never reward by "
        "a task that the scene does not show."
    )
    table = Details("Found done", ("the other task", "head", "episode"), tuple(rows))
    return Finding(WRONG, WRONG_QUESTION, verdict, sentence + missing, advice, measures, (table,))
