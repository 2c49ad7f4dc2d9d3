"""The clocks of N environments' episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from lrm_client.clock import ClockConfig, ClockState, advance, due_heads, open_clock
from lrm_client.errors import EpisodeEnded, EpisodeNotFound

NOT_RESET: Final = ClockState(())
"""The clock of an environment before its first reset, and after a reset that failed."""


class EpisodeClocks:
    """Where the episode of each environment stands.

    Attributes:
        configs: by environment.
        states: by environment.
        doubtful: by environment: whether the last call for it failed, so that the server
            may or may not have taken the step. The next step is forced.
    """

    def __init__(self, config: ClockConfig, count: int) -> None:
        self.configs = [config] * count
        self.states = [NOT_RESET] * count
        self.doubtful = [False] * count

    def __len__(self) -> int:
        return len(self.states)

    def copy(self) -> EpisodeClocks:
        """Clocks that stand at the same steps and go on by themselves."""
        other = EpisodeClocks.__new__(EpisodeClocks)
        other.configs, other.states = self.configs.copy(), self.states.copy()
        other.doubtful = self.doubtful.copy()
        return other

    def begin(self, environment: int, config: ClockConfig, neutral: Mapping[str, float]) -> None:
        """Puts an environment at step 0 of a new episode."""
        self.configs[environment] = config
        self.states[environment], _ = advance(config, open_clock(neutral), 0)
        self.doubtful[environment] = False

    def running(self, environment: int) -> bool:
        """Whether the environment was reset and has taken no final step."""
        state = self.states[environment]
        return state.step >= 0 and not state.ended

    def due(self, environment: int, final: bool, force: bool) -> tuple[str, ...]:
        """The heads that are to be queried at a running environment's next step."""
        state = self.states[environment]
        force = force or self.doubtful[environment]
        return due_heads(self.configs[environment], state, state.step + 1, final=final, force=force)

    def check_running(self, environments: Sequence[int]) -> None:
        """Refuses a step of an environment that has no running episode.

        Raises:
            EpisodeEnded: the environment took its final step and was not reset.
            EpisodeNotFound: the environment was never reset, or its reset failed.
        """
        for environment in environments:
            state = self.states[environment]
            if state.step < 0:
                raise EpisodeNotFound(
                    f"environment {environment} has no episode: reset it before its first step"
                )
            if state.ended:
                raise EpisodeEnded(
                    f"environment {environment} took its final step {state.step}: reset it "
                    "before it takes another"
                )

    def foresee(self, environment: int, final: bool, force: bool) -> None:
        """Takes the next step as if its queries will succeed.

        The values are not known yet, and where the next queries lie does not depend on
        them.
        """
        due = self.due(environment, final, force)
        config, state = self.configs[environment], self.states[environment]
        values = dict.fromkeys(due, 0.0)
        self.states[environment], _ = advance(config, state, state.step + 1, values, final=final)
        if due:
            self.doubtful[environment] = False
