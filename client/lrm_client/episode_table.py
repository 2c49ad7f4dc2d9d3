"""Episodes on the client's clock: when the server is asked, and what a failure leads to.

Everything here is work without a connection: it yields the calls that it needs, and a
blocking or an asynchronous client makes them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from lrm_client.answers import read_answer
from lrm_client.clock import (
    ClockConfig,
    HeadReward,
    Hold,
    Phase,
    advance,
    resting_reward,
)
from lrm_client.doubts import Doubt, Doubts, is_doubtful
from lrm_client.episode_calls import EpisodeCalls
from lrm_client.episode_clocks import NOT_RESET, EpisodeClocks
from lrm_client.errors import (
    FailedReward,
    FrameRequired,
    InvalidRequest,
    LrmError,
    Unauthenticated,
    UnknownHead,
)
from lrm_client.flows import Flow
from lrm_client.frames import EncodedFrame
from lrm_client.remote_episodes import Queried, RemoteEpisodes
from lrm_client.requests import new_id
from lrm_client.rewards import FAILURE_POLICIES, FailurePolicy, HeadStep
from lrm_client.types import EpisodeSpec, EpisodeStep, Reply, StepReply

logger = logging.getLogger(__name__)

FramePicker: TypeAlias = Callable[[list[int]], Mapping[int, EncodedFrame]]
"""Gives the frames of the wanted environments, as far as there are any."""


class EpisodeTable:
    """The episodes of N environments, at most one of each environment running.

    Args:
        spec: the specification of every episode; its task and offset are replaced.
        tasks: the task of each environment.
        sending: makes the calls, and says how frames are encoded.
        failure: what a failed head's reward is.
    """

    def __init__(
        self,
        spec: EpisodeSpec,
        tasks: Sequence[str],
        sending: EpisodeCalls,
        failure: FailurePolicy,
    ) -> None:
        if failure not in FAILURE_POLICIES:
            raise ValueError(f"failure must be raise, hold or mask, not {failure!r}")
        self.spec = spec
        self.encoder = sending.encoder
        self.failure = failure
        self.clocks = EpisodeClocks(self.config(0), len(tasks))
        self._remote = RemoteEpisodes(spec, tasks, sending)
        self._doubts = [Doubts() for _ in tasks]
        self._last_good: list[dict[str, float]] = [{} for _ in tasks]

    def __len__(self) -> int:
        return len(self._remote)

    def step_of(self, environment: int) -> int:
        """The last step that the environment took; -1 before its reset."""
        return self.clocks.states[environment].step

    def id_of(self, environment: int) -> str:
        """The id of the environment's episode; empty before its reset."""
        return self._remote.id_of(environment)

    def config(self, offset: int) -> ClockConfig:
        """The clock of an episode with an offset."""
        spec = self.spec
        hold, phase = Hold(spec.hold), Phase(spec.phase)
        return ClockConfig(spec.interval, spec.scale, hold, phase, offset)

    @property
    def neutral(self) -> Mapping[str, float]:
        """The heads' neutral values; empty before the first episode was opened."""
        return self._remote.neutral

    def reset(
        self, frames: Mapping[int, EncodedFrame], tasks: Mapping[int, str], offset: int
    ) -> Flow[None]:
        """Ends the environments' episodes and begins new ones with their initial frames.

        Raises:
            LrmError: an episode could not be opened. With another policy than ``raise``,
                what may pass by itself is raised by the first reset only: later ones
                leave the opening to the first step that is due.
        """
        config = self.config(offset)
        for environment, frame in frames.items():
            self._remote.begin(environment, frame, config.offset, tasks.get(environment))
            self.clocks.configs[environment] = config
            self.clocks.states[environment] = NOT_RESET
            self._doubts[environment] = Doubts()
        failed = yield from self._remote.open(list(frames))
        for environment, error in failed.items():
            lasting = isinstance(error, InvalidRequest | UnknownHead | Unauthenticated)
            if self.failure == "raise" or lasting or not self.neutral:
                raise _named(error, environment)
            logger.warning("episode %s is not open yet: %s", self.id_of(environment), error)
        for environment in frames:
            self.clocks.begin(environment, config, self.neutral)
            self._last_good[environment] = {
                head.name: resting_reward(config, head)
                for head in self.clocks.states[environment].heads
            }

    def step(
        self,
        environments: Sequence[int],
        pick: FramePicker,
        final: Sequence[bool],
        force: Sequence[bool],
    ) -> Flow[tuple[list[dict[str, HeadStep]], list[FailedReward]]]:
        """Takes the next step of some environments.

        Args:
            environments: who takes a step.
            pick: called once with the environments whose frames are wanted, if any are.
                The heads of one whose frame it does not give have failed.
            final: per environment of the table.
            force: per environment of the table.

        Returns:
            The heads' rewards of each of ``environments``, and the failures among them.

        Raises:
            LrmError: an environment has no running episode.
        """
        self.clocks.check_running(environments)
        due: dict[int, tuple[str, ...]] = {}
        for environment in environments:
            heads = self.clocks.due(environment, final[environment], force[environment])
            if heads:
                due[environment] = heads
        rows: dict[int, dict[str, HeadStep]] = {}
        if due:
            frames = pick(list(due))
            asked = {
                at: self._next_step(at, frame, final[at], force[at]) for at, frame in frames.items()
            }
            answers = yield from self._ask(asked)
            for environment, heads in due.items():
                answer = answers.get(environment) or self._passed_over(environment)
                sent = asked.get(environment)
                row = self._settle(environment, heads, answer, final[environment], sent)
                rows[environment] = row
        for environment in environments:
            if environment not in due:
                rows[environment] = self._rest(environment)
        yield from self._remote.flush()
        failures = [failed for at in due for failed in self._failures(at, rows[at])]
        return [rows[environment] for environment in environments], failures

    def close(self) -> Flow[None]:
        """Closes every episode."""
        for environment in range(len(self)):
            self._remote.retire(environment)
            self.clocks.states[environment] = NOT_RESET
        yield from self._remote.flush()

    def _next_step(
        self, environment: int, frame: EncodedFrame, final: bool, force: bool
    ) -> EpisodeStep:
        return EpisodeStep(
            self.id_of(environment),
            self.step_of(environment) + 1,
            frame,
            final,
            force or self.clocks.doubtful[environment],
            new_id(),
        )

    def _ask(self, asked: Mapping[int, EpisodeStep]) -> Flow[dict[int, StepReply | LrmError]]:
        """The answers to due steps, with those to the doubtful ones before them taken over."""
        steps = {at: [*self._doubts[at].questions(), step] for at, step in asked.items()}
        answers = yield from self._remote.ask(steps)
        for environment, own in answers.items():
            if len(own) > 1:
                self._clear_up(environment, own[:-1])
        return {environment: own[-1] for environment, own in answers.items()}

    def _clear_up(self, environment: int, answers: Sequence[StepReply | LrmError]) -> None:
        """Puts what the server did take of the doubtful steps on the clock."""
        clocks = self.clocks
        clocks.states[environment], taken = self._doubts[environment].settle(
            clocks.configs[environment], clocks.states[environment], answers
        )
        for step, values in taken:
            self._remember(environment, values, step)

    def _passed_over(self, environment: int) -> FrameRequired:
        return FrameRequired(
            "the step became due by a failure, after its frame was passed over",
            step=self.step_of(environment) + 1,
        )

    def _rest(self, environment: int) -> dict[str, HeadStep]:
        """Takes a step that is not due on the clock."""
        clocks = self.clocks
        config, state = clocks.configs[environment], clocks.states[environment]
        clocks.states[environment], rewards = advance(config, state, state.step + 1)
        return {reward.head: self._row(environment, reward, None, None) for reward in rewards}

    def _settle(
        self,
        environment: int,
        due: tuple[str, ...],
        answer: StepReply | LrmError,
        final: bool,
        sent: EpisodeStep | None,
    ) -> dict[str, HeadStep]:
        """Takes a due step on the clock, with what became of it.

        Args:
            environment: whose step it is.
            due: its due heads.
            answer: the server's, or why there is none.
            final: whether the episode ends with it.
            sent: the step as the server was sent it; None when it was not sent.
        """
        clocks = self.clocks
        config, state = clocks.configs[environment], clocks.states[environment]
        read = read_answer(self.spec.heads, due, answer)
        clocks.doubtful[environment] = not read.taken
        clocks.states[environment], rewards = advance(
            config, state, state.step + 1, read.values, final=final
        )
        if sent is not None:
            self._remember(environment, read.values, sent)
            if isinstance(answer, StepReply):
                self._doubts[environment] = Doubts()
            elif is_doubtful(answer):
                self._doubts[environment].add(state, Doubt(sent, due))
        if final:
            self._remote.retire(environment)
            self._doubts[environment] = Doubts()
        return {
            r.head: self._row(environment, r, read.replies.get(r.head), read.errors.get(r.head))
            for r in rewards
        }

    def _row(
        self, environment: int, reward: HeadReward, reply: Reply | None, error: LrmError | None
    ) -> HeadStep:
        head, paid, value, source, age = reward
        last_good = self._last_good[environment]
        if paid is not None:
            last_good[head] = paid
            return HeadStep(paid, True, value, source, age, reply)
        kept = last_good[head] if self.failure == "hold" else math.nan
        return HeadStep(kept, False, None, source, age, None, error)

    def _remember(
        self, environment: int, values: Mapping[str, float | None], step: EpisodeStep
    ) -> None:
        """Keeps the frame that later queries of the heads that answered compare with."""
        if isinstance(step.frame, EncodedFrame):
            heads = [head for head, value in values.items() if value is not None]
            self._remote.remember(environment, heads, Queried(step.step, step.frame))

    def _failures(self, environment: int, row: Mapping[str, HeadStep]) -> list[FailedReward]:
        step, episode = self.step_of(environment), self.id_of(environment)
        return [
            FailedReward(environment, episode, step, head, part.error)
            for head, part in row.items()
            if part.error is not None
        ]


def _named(error: LrmError, environment: int) -> LrmError:
    """The error, with the environment in its message."""
    error.message = f"environment {environment} was not reset: {error.message}"
    error.args = (error.message,)
    return error
