"""Whether the task is heard: the same in other words, and another task altogether."""

from __future__ import annotations

from collections import Counter

from lrm_server.audit.checks.common import (
    CHANGE_COLUMNS,
    by_episode,
    change_rows,
    collect,
    mean_of,
    worst_change,
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
WRONG = "wrong task"
WRONG_QUESTION = "Is a finished scene called unfinished for another task?"


def check_paraphrases(evidence: Evidence, thresholds: Thresholds) -> Finding:
    """The worst wording by change of progress and by flipped answers."""
    named: list[str] = []

    def progress() -> Measure:
        name, figure = worst_change(
            "words.paraphrase_progress",
            evidence.paraphrases,
            ["progress"],
            lambda c: c.change,
            flags=False,
        )
        named.append(f"{name!r} moves progress by {figure.value:.2f} in the mean")
        meaning = f"mean change of progress under the worst wording ({name})"
        return measure(thresholds, "words.paraphrase_progress", meaning, figure)

    def flips() -> Measure:
        name, figure = worst_change(
            "words.paraphrase_flips",
            evidence.paraphrases,
            ["completion", "contrastive"],
            lambda c: float(c.flipped),
            flags=True,
        )
        named.append(f"{name!r} turns {figure.value:.0%} of the completion and contrastive answers")
        meaning = f"completion and contrastive answers turned by the worst wording ({name})"
        return measure(thresholds, "words.paraphrase_flips", meaning, figure)

    measures, verdict, missing = collect(progress, flips)
    sentence = f"Worst wordings: {'; '.join(named)}."
    advice = "" if verdict is Verdict.PASS else "Use the wording that the model was trained with."
    table = Details(
        "Each wording against the task as it is", CHANGE_COLUMNS, change_rows(evidence.paraphrases)
    )
    return Finding(
        PARAPHRASES,
        PARAPHRASES_QUESTION,
        verdict,
        sentence + missing,
        advice,
        measures,
        (table,),
    )


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
