"""The tables: the papers' figures in the papers' layout, and the card's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lrm_server.evaluation import figures as fig
from lrm_server.evaluation.figures import Bootstrap, Figure
from lrm_server.evaluation.gathering import by_expectation, by_label
from lrm_server.evaluation.judged import JudgedModel
from lrm_server.evaluation.metrics import lrm, robometer
from lrm_server.evaluation.metrics.result import Measurement, Metric
from lrm_server.evaluation.plan import HEADS, MOST_NEAR
from lrm_server.evaluation.published import PublishedColumn, published_figures


@dataclass(frozen=True, slots=True)
class Section:
    """A table before it is filled.

    Attributes:
        key: the published figures are found by it.
        title: as printed.
        about: over what the figures are, in a sentence or two.
        figures: the rows.
    """

    key: str
    title: str
    about: str
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row, or a heading over rows where ``metrics`` is empty.

    Attributes:
        key: the figure's; a heading has what its rows' keys begin with.
        label: as printed.
        better: which way is better; None for a heading.
        metrics: one for each model.
        published: as printed in the papers, one for each column; empty under a heading.
        differences: of each model that was asked after the first, less the first.
        indented: whether it stands under a heading.
    """

    key: str
    label: str
    better: fig.Better | None
    metrics: tuple[Metric, ...]
    published: tuple[str, ...]
    indented: bool = False
    differences: tuple[Metric, ...] = ()


@dataclass(frozen=True, slots=True)
class FilledTable:
    """A table with a column for each model, each difference, and each published model."""

    section: Section
    models: tuple[str, ...]
    compared: tuple[str, ...]
    published: tuple[PublishedColumn, ...]
    rows: tuple[TableRow, ...]


def sections(groups: Sequence[str]) -> list[Section]:
    """All tables.

    Args:
        groups: the subsets of the data; one alone is not shown by itself.
    """
    shown = groups if len(groups) > 1 else ()
    return [
        _contrastive(),
        _progress(),
        _completion(),
        _open_loop(),
        _direction(),
        _roboreward(shown),
        _robometer(),
        _card(shown),
    ]


def fill(
    section: Section,
    models: Sequence[JudgedModel],
    bootstrap: Bootstrap,
    measured: Callable[[], None] = lambda: None,
) -> FilledTable:
    """Computes a table; only models that look at frames get intervals.

    Args:
        section: which.
        models: the columns.
        bootstrap: how intervals are drawn.
        measured: called when a row is done.
    """
    beside = published_figures().of(section.key)
    none = Bootstrap(resamples=0)
    first, *others = [model for model in models if model.identity is not None] or models[:1]
    rows: list[TableRow] = []
    heading = ""
    for figure in section.figures:
        key = figure.key.partition(":")[0] if figure.under else figure.key
        published = tuple(column.cell(section.key, key) for column in beside)
        if figure.under and figure.under != heading:
            # What a paper prints without saying of which head stands beside all of them.
            rows.append(TableRow(key, figure.under, None, (), published))
        heading = figure.under
        metrics = tuple(
            figure.of(model, none if model.identity is None else bootstrap) for model in models
        )
        alone = () if figure.under else published
        differences = tuple(figure.less(model, first, bootstrap) for model in others)
        rows.append(
            TableRow(
                figure.key,
                figure.label,
                figure.better,
                metrics,
                alone,
                bool(figure.under),
                differences,
            )
        )
        measured()
    titles = tuple(model.title for model in models)
    compared = tuple(f"{model.title}, less {first.title}" for model in others)
    return FilledTable(section, titles, compared, beside, tuple(rows))


def _contrastive() -> Section:
    return Section(
        "contrastive",
        "LRM: contrastive",
        "Order of an episode's frames by the running sum of the answers about consecutive frames, "
        "against true progress; mean over episodes. Answers have no size, so sums of right ones "
        "need not reach 1 where progress also falls: the oracle's column is what they reach.",
        [
            Figure("kendall_tau", "Kendall tau", "higher", fig.order(lrm.kendall_tau)),
            Figure("spearman", "Spearman", "higher", fig.order(lrm.spearman)),
        ],
    )


def _progress() -> Section:
    label, expected = fig.progress_by(by_label), fig.progress_by(by_expectation)
    return Section(
        "progress",
        "LRM: progress",
        "Every frame after the first, which is shown as the initial one.",
        [
            Figure("exact", "exact accuracy", "higher", fig.over(label, lrm.exact_accuracy)),
            Figure("within", "accuracy within 0.2", "higher", fig.over(label, lrm.accuracy_within)),
            Figure("mae", "MAE", "lower", fig.over(label, lrm.mae)),
            Figure("rmse", "RMSE", "lower", fig.over(label, lrm.rmse)),
            Figure("mae_expected", "MAE, expected value", "lower", fig.over(expected, lrm.mae)),
        ],
    )


def _completion() -> Section:
    return Section(
        "completion",
        "LRM: completion",
        "Every frame; the calibration error is of the probability of done.",
        [
            Figure("accuracy", "accuracy", "higher", fig.completion_accuracy),
            Figure("ece", "calibration error (ECE)", "lower", fig.completion_ece),
        ],
    )


def _open_loop() -> Section:
    rows: list[tuple[str, str, Callable[[str], fig.Measure]]] = [
        ("roc_auc", "ROC-AUC", lambda head: fig.outcome(head, lrm.roc_auc)),
        ("pairwise", "pairwise accuracy", lambda head: fig.outcome(head, lrm.pairwise_accuracy)),
        ("global", "global Pearson", fig.totals),
        ("trajectory", "per-trajectory Pearson", fig.trajectories),
    ]
    return Section(
        "open_loop",
        "LRM: open loop",
        "An episode's reward is the mean of the head's rewards (expected values) at its frames "
        "after the first, so that its length says nothing; success against failure for ROC-AUC "
        "and pairwise accuracy (ties are wrong), the oracle's reward for the correlations.",
        [
            Figure(f"{key}:{head}", f"by {head}", "higher", measure(head), under=title)
            for key, title, measure in rows
            for head in HEADS
        ],
    )


def _direction() -> Section:
    return Section(
        "direction",
        "LRM: contrastive direction",
        "Frames about a tenth of the episode apart whose true progress differs, at most "
        f"{MOST_NEAR} pairs spread over an episode, asked in both orders; by label, and what is "
        "undecided is wrong. Monotonicity is of the running sum over successes, and is 1 for a "
        "model that always prefers the later frame.",
        [
            Figure(
                "accuracy",
                "direction accuracy",
                "higher",
                fig.over(fig.near, lrm.direction_accuracy),
            ),
            Figure("recall", "progress recall", "higher", fig.over(fig.near, lrm.progress_recall)),
            Figure(
                "consecutive",
                "direction accuracy, consecutive frames",
                "higher",
                fig.over(fig.consecutive, lrm.direction_accuracy),
            ),
            Figure("monotonicity", "monotonicity on successes", "higher", fig.monotonicity),
        ],
    )


def _roboreward(groups: Sequence[str]) -> Section:
    return Section(
        "roboreward",
        "RoboReward: MAE on ratings of 1 to 5",
        "The progress of an episode's last frame and its true progress, both as a rating; an "
        "unusable answer is an error of 4. The average is over subsets.",
        [
            Figure("macro", "average over subsets", "lower", fig.roboreward_macro),
            *(
                Figure(
                    f"subset:{group}", group, "lower", fig.roboreward_subset(group), under="subsets"
                )
                for group in groups
            ),
        ],
    )


def _robometer() -> Section:
    return Section(
        "robometer",
        "Robometer",
        "VOC: progress (expected value) against time on successes, up to the first success. The "
        "ranking is of successful before partly successful before failed episodes of each task by "
        "their last frame's progress; success AUPRC is of the last frame's completion.",
        [
            Figure("voc_pearson", "VOC (Pearson)", "higher", fig.voc(robometer.voc_pearson)),
            Figure("voc_spearman", "VOC (Spearman)", "higher", fig.voc(robometer.voc_spearman)),
            Figure("ranking", "policy ranking (Kendall tau_a)", "higher", fig.policy_ranking),
            Figure("auprc", "success AUPRC", "higher", fig.success_auprc),
        ],
    )


def _card(groups: Sequence[str]) -> Section:
    """The figures of the embedded checkpoint's card, for each group and for all."""
    kinds: list[tuple[str, str, fig.Better, fig.Gather, Callable[..., Measurement]]] = [
        ("mae", "progress MAE", "lower", fig.progress_by(by_label), lrm.mae),
        (
            "direction",
            "direction accuracy, near pairs in both orders",
            "higher",
            fig.near,
            lrm.direction_accuracy,
        ),
        ("auc", "completion AUC, hard frames", "higher", fig.hard, lrm.roc_auc),
    ]
    return Section(
        "card",
        "By group",
        "Hard frames: those that are done, against the last frames of failures and the unfinished "
        "ones shortly before success.",
        [
            figure
            for key, title, better, gather, metric in kinds
            for figure in (
                *(
                    Figure(
                        f"{key}:{group}",
                        group,
                        better,
                        fig.of_group(gather, metric, group),
                        under=title,
                    )
                    for group in groups
                ),
                Figure(key, "all", better, fig.over(gather, metric), under=title),
            )
        ],
    )
