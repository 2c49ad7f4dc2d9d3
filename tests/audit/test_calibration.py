"""Calibration is of probabilities, and of nothing that stands in for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lrm_server.audit.audit import plan_audit
from lrm_server.audit.checks import calibration
from lrm_server.audit.constructed import ConstructedModel
from lrm_server.audit.findings import NotComputableError, Verdict
from lrm_server.audit.survey import arrange, ask_all
from lrm_server.evaluation.asking import Answer, Question
from tests.audit.builders import SHIPPED
from tests.audit.test_survey import EPISODES


class Generating(ConstructedModel):
    """The oracle, its labels alone."""

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        answers = super().ask(questions)
        return [replace(each, expected=None, probabilities={}) for each in answers]


def test_labels_alone_are_no_probabilities() -> None:
    plan = plan_audit(EPISODES)
    graded = arrange(plan, ask_all(ConstructedModel("oracle"), plan))
    assert calibration.check(graded, SHIPPED).verdict is Verdict.PASS
    labels = arrange(plan, ask_all(Generating("oracle"), plan))
    with pytest.raises(NotComputableError, match="no probabilities"):
        calibration.check(labels, SHIPPED)
