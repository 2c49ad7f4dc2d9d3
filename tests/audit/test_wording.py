"""Paraphrases and wrong tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrm_server.audit.wording import Wording, WordingError, read_wording

TASKS = ["Lift the peg.", "Push the cube."]
UNGROUPED = {task: {""} for task in TASKS}


def test_templates_where_nothing_is_given() -> None:
    said = Wording().variants("Lift the peg.")
    assert said["Please {task}"] == "Please lift the peg."
    assert said["The robot should: {task}"] == "The robot should: Lift the peg."


def test_a_text_with_a_slot_is_a_template() -> None:
    assert read_wording(["Robot, {task}"], [], TASKS).variants(TASKS[0]) == {
        "Robot, {task}": "Robot, lift the peg."
    }


def test_plain_words_are_of_the_only_task() -> None:
    wording = read_wording(["Raise the peg."], [], [TASKS[0]] * 3)
    assert wording.variants(TASKS[0]) == {"paraphrase 1": "Raise the peg."}
    with pytest.raises(WordingError, match="any of 2 tasks"):
        read_wording(["Raise the peg."], [], TASKS)


def test_a_file_says_which_task_it_means(tmp_path: Path) -> None:
    file = tmp_path / "words.json"
    file.write_text(json.dumps({TASKS[0]: ["Raise it.", "Put it upright."]}))
    wording = read_wording([str(file)], [], TASKS)
    assert wording.variants(TASKS[0]) == {
        "paraphrase 1": "Raise it.",
        "paraphrase 2": "Put it upright.",
    }
    assert "Please {task}" in wording.variants(TASKS[1])


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "cannot be read as JSON"),
        ('["Raise it."]', "must be an object"),
        ('{"Lift the peg.": "Raise it."}', "must be an object"),
        ('{"Sweep.": ["Sweep it."]}', "is no task of the data set"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: str, cause: str) -> None:
    file = tmp_path / "words.json"
    file.write_text(content)
    with pytest.raises(WordingError, match=cause):
        read_wording([str(file)], [], TASKS)


def test_wrong_tasks_are_those_of_others_and_those_given() -> None:
    wording = read_wording([], ["Sweep the table."], TASKS)
    assert wording.others(TASKS[0], UNGROUPED) == [TASKS[1], "Sweep the table."]
    assert Wording().others(TASKS[0], {TASKS[0]: {""}}) == []


def test_the_same_task_in_other_words_is_not_a_wrong_one() -> None:
    spelt = {**UNGROUPED, "lift the peg": {""}}
    assert Wording().others(TASKS[0], spelt) == [TASKS[1]]
    given = Wording(paraphrases={"Raise it.": (TASKS[0],)}, wrong=("Raise it.",))
    assert given.others(TASKS[0], {**UNGROUPED, "Raise it.": {""}}) == [TASKS[1]]
    grouped = {TASKS[0]: {"peg"}, "Hoist the rod.": {"peg"}, TASKS[1]: {"cube"}}
    assert Wording().others(TASKS[0], grouped) == [TASKS[1]]
