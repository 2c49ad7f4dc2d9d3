"""A reward model of LeRobot's that has no weights: its rewards come from a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lrm_client.client import RewardClient
from lrm_client.envs.lerobot.bases import PreTrainedRewardModel, RewardModelConfig
from lrm_client.envs.lerobot.batches import cameras_of, queries_of, size_of
from lrm_client.envs.lerobot.configuration_lrm import LrmConfig
from lrm_client.errors import InvalidRequest, LrmError, Unauthenticated, UnknownHead
from lrm_client.types import HeadInfo, Reply

if TYPE_CHECKING:
    import torch

MOST_NAMED = 5
"""Failures of a batch that its message names; all of them are in ``failures``."""


class FailedSample(NamedTuple):
    """A sample that has no reward."""

    sample: int
    """Its number in the batch."""
    error: LrmError


class BatchFailed(LrmError):  # noqa: N818 - named as the field names the condition
    """Samples of a batch have no reward.

    Attributes:
        failures: every sample that failed.
        rewards: float32 (B,) on the CPU: the others' rewards, and NaN at the failures.
    """

    default_code = "rewards_failed"

    def __init__(self, failures: Sequence[FailedSample], rewards: torch.Tensor) -> None:
        named = "; ".join(
            f"sample {f.sample}: {f.error.code}: {f.error.message}" for f in failures[:MOST_NAMED]
        )
        more = len(failures) - MOST_NAMED
        super().__init__(
            f"no reward for {len(failures)} of {len(rewards)} samples: {named}"
            + (f"; and {more} more" if more > 0 else "")
        )
        self.failures = tuple(failures)
        self.rewards = rewards

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.failures, self.rewards)


class LrmRewardModel(PreTrainedRewardModel):
    """Rewards of a head of a reward-model server, by LeRobot's interface.

    A batch is one call. The connection is made with the first batch, so that models may be
    made before processes are forked.

    Args:
        config: which server and which head.
        client: a client to use instead of one made from the config; it stays the caller's.
        dataset_stats: what LeRobot's trainer hands to every reward model; not used.
        dataset_meta: likewise.

    Attributes:
        valid: bool (B,) of the last batch: False where there was no reward; None before.
        failures: why, of the last batch.
        replies: the server's replies of the last batch; None where a sample failed, or
            where its episode had just begun and there was nothing to compare.

    Raises:
        ImportError: LeRobot is not installed.
    """

    name = "lrm"
    config_class = LrmConfig
    config: LrmConfig

    def __init__(
        self,
        config: LrmConfig,
        *,
        client: RewardClient | None = None,
        dataset_stats: object = None,
        dataset_meta: object = None,
    ) -> None:
        super().__init__(config)
        self.config = config
        self._given, self._client = client, client
        self._head: HeadInfo | None = None
        self.valid: torch.Tensor | None = None
        self.failures: tuple[FailedSample, ...] = ()
        self.replies: tuple[Reply | None, ...] = ()

    def compute_reward(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """The value that the head gives each sample.

        Args:
            batch: images by LeRobot's keys, (B, 3, H, W) or windows (B, T, 3, H, W) oldest
                first, uint8 or floating point in [0, 1]; the task in words, one or B.

        Returns:
            float32 (B,), on the images' device. NaN where a sample failed and ``failure`` is
            ``mask``; the head's neutral value where it compares two frames and the
            episode has just begun.

        Raises:
            BatchFailed: samples failed, and ``failure`` is ``raise``.
            LrmError: the batch is wrong, the head is not served, the token is refused; or,
                where ``failure`` is ``raise``, the call failed as a whole.
        """
        import torch

        camera = cameras_of(batch, self.config.image_keys)[0]
        count = size_of(batch, camera)
        try:
            values, outcomes = self._answers(batch)
        except (InvalidRequest, UnknownHead, Unauthenticated):
            # What is wrong with the request is wrong with the next one too.
            raise
        except LrmError as error:
            if self.config.failure == "raise":
                raise
            values, outcomes = [float("nan")] * count, [error] * count
        rewards = torch.tensor(values, dtype=torch.float32)
        self.failures = tuple(
            FailedSample(sample, outcome)
            for sample, outcome in enumerate(outcomes)
            if isinstance(outcome, LrmError)
        )
        self.replies = tuple(None if isinstance(each, LrmError) else each for each in outcomes)
        device = getattr(batch[camera], "device", None)
        self.valid = (~rewards.isnan()).to(device)
        if self.failures and self.config.failure == "raise":
            raise BatchFailed(self.failures, rewards)
        return rewards.to(device)

    def close(self) -> None:
        """Drops the connection, unless the caller gave it; the next batch makes a new one."""
        if self._client is not None and self._given is None:
            self._client.close()
            self._client = None
        self._head = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: RewardModelConfig | None = None,
        client: RewardClient | None = None,
        **options: Any,
    ) -> LrmRewardModel:
        """A model of a saved config; there are no weights to load.

        Args:
            pretrained_name_or_path: folder, or name on the Hub, that holds ``config.json``.
            config: to use instead of it.
            client: to use instead of one made from the config.
            options: LeRobot's, of where the config is found.

        Raises:
            TypeError: the config is of another type.
        """
        if config is None:
            config = RewardModelConfig.from_pretrained(pretrained_name_or_path, **options)
        if not isinstance(config, LrmConfig):
            raise TypeError(
                f"{pretrained_name_or_path} holds a {type(config).__name__}, not an LrmConfig"
            )
        return cls(config, client=client).eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        """Writes the config, which is all there is."""
        self.config._save_pretrained(save_directory)

    def _answers(
        self, batch: Mapping[str, Any]
    ) -> tuple[list[float], list[Reply | LrmError | None]]:
        """The values of the samples, NaN where one failed, and what the server answered."""
        client = self._connected()
        head = self._served(client)
        queries = queries_of(batch, self.config, head)
        asked = [query for query in queries if query is not None]
        answers = iter(client.score_batch(asked) if asked else ())
        outcomes = [None if query is None else next(answers) for query in queries]
        return [_value(outcome, head) for outcome in outcomes], outcomes

    def _connected(self) -> RewardClient:
        if self._client is None:
            config = self.config
            self._client = RewardClient(
                config.target,
                token=config.token(),
                timeout=config.timeout,
                encoder=config.encoder(),
            )
        return self._client

    def _served(self, client: RewardClient) -> HeadInfo:
        """The head as the server describes it: which frames it looks at, its neutral value."""
        if self._head is None:
            heads = {k: v for model in client.models().models for k, v in model.heads.items()}
            name = self.config.head
            if name not in heads:
                raise UnknownHead(
                    f"{client.target} serves no head {name!r}, only {', '.join(sorted(heads))}"
                )
            self._head = heads[name]
        return self._head


def _value(outcome: Reply | LrmError | None, head: HeadInfo) -> float:
    if isinstance(outcome, LrmError):
        return float("nan")
    return head.neutral if outcome is None else outcome.value
