"""The pipelines that LeRobot puts around a reward model."""

from __future__ import annotations

from typing import Any

from lrm_client.envs.lerobot.configuration_lrm import LrmConfig


def make_lrm_pre_post_processors(
    config: LrmConfig, dataset_stats: dict[str, Any] | None = None
) -> tuple[Any, Any]:
    """LeRobot's pipelines before and after the model.

    The server sizes and normalises frames as its checkpoint wants them, so images pass as
    they are: one sample becomes a batch of one, and rewards are not touched.

    Args:
        config: of the model.
        dataset_stats: what LeRobot hands to every factory; not used.

    Raises:
        ImportError: LeRobot is not installed.
    """
    from lerobot.processor import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
        AddBatchDimensionProcessorStep,
        DeviceProcessorStep,
        PolicyProcessorPipeline,
        policy_action_to_transition,
        transition_to_policy_action,
    )

    before = PolicyProcessorPipeline(
        steps=[
            AddBatchDimensionProcessorStep(),
            DeviceProcessorStep(device=config.device or "cpu"),
        ],
        name="policy_preprocessor",
    )
    after = PolicyProcessorPipeline(
        name="policy_postprocessor",
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
