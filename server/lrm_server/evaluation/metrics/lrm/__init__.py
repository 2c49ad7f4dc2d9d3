"""The scores of Large Reward Models (arXiv 2603.16065), under the paper's names.

``ordering`` and ``direction`` judge the contrastive head, ``progress`` the progress head,
``completion`` the completion head, and ``open_loop`` any head's rewards over whole episodes.
"""

from lrm_server.evaluation.metrics.lrm.completion import completion_accuracy
from lrm_server.evaluation.metrics.lrm.direction import (
    direction_accuracy,
    monotonicity,
    progress_recall,
)
from lrm_server.evaluation.metrics.lrm.open_loop import (
    global_pearson,
    pairwise_accuracy,
    roc_auc,
    trajectory_pearson,
)
from lrm_server.evaluation.metrics.lrm.ordering import kendall_tau, spearman
from lrm_server.evaluation.metrics.lrm.progress import (
    Curve,
    accuracy_within,
    cumulative_accuracy,
    exact_accuracy,
    mae,
    rmse,
)

__all__ = [
    "Curve",
    "accuracy_within",
    "completion_accuracy",
    "cumulative_accuracy",
    "direction_accuracy",
    "exact_accuracy",
    "global_pearson",
    "kendall_tau",
    "mae",
    "monotonicity",
    "pairwise_accuracy",
    "progress_recall",
    "rmse",
    "roc_auc",
    "spearman",
    "trajectory_pearson",
]
