"""lrm and those that it is compared with, asked the same in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np

from bench import openai_requests
from bench.bare_engine import BareEngine
from bench.comparison import BARE, JPEG, OPENAI, RAW, Row, Written, row_of
from bench.compat_lrm import bodies
from bench.compat_lrm import measure as post
from bench.learner import TASK, Load, Took, step
from bench.openai_requests import ChatLoad, Node
from bench.scene import frames
from bench.services import SETTLING_SECONDS
from lrm_client import FrameEncoder, LrmError, Query, Reply, RewardClient
from lrm_server.heads.profile import Role

LoadT = TypeVar("LoadT", Load, ChatLoad)
ResultT = TypeVar("ResultT")

REASONS: Final = ("contrastive",)
"""Heads whose published form reasons before it answers."""
QUERIES_PER_TURN: Final = 128
"""At least, of those that count: fewer would be measured too shortly."""


class Comparison:
    """One engine with lrm around it, and the others that it takes turns with."""

    def __init__(
        self, bare: BareEngine, learner: ProcessPoolExecutor, target: str, openai: str, plain: str
    ) -> None:
        self._bare = bare
        self._learner = learner
        self._target = target
        self._openai = openai
        self._plain = plain
        self._seed = 0
        self._last = ""

    async def rates(self, head: str, environments: int, rounds: int) -> Row:
        """One head at one number of environments, all sides in turn."""
        due = 1 + max(1, round(QUERIES_PER_TURN / environments))
        load = Load(self._target, environments, (head,), due=due)
        sides = [BARE, RAW, JPEG, *([OPENAI] if self._openai else [])]
        taken: dict[str, list[Took]] = {side: [] for side in sides}
        for turn in range(rounds + 1):
            # Who goes first changes, and who goes after whom.
            for side in sides if turn % 2 else reversed(sides):
                fresh = replace(load, seed=self._fresh())
                if turn == 0:
                    await self._take(side, replace(fresh, due=1))
                else:
                    taken[side].append(await self._take(side, fresh))
        return row_of(load, taken)

    async def written(self, head: str, requests: int, reasoning: int) -> list[Written]:
        """What the plain service does with each form of a head's answers.

        It has one caller: of more, all but one would wait.
        """
        found = []
        for exactly in (0, reasoning) if head in REASONS else (0,):
            await asyncio.sleep(SETTLING_SECONDS)
            first, *sent = bodies(head, requests + 1, self._fresh(), exactly_tokens=exactly)
            await asyncio.to_thread(post, self._plain, head, [first], 1)
            done = await asyncio.to_thread(post, self._plain, head, sent, 1)
            tokens = sum(done.tokens) / len(done.tokens)
            found.append(Written(head, exactly > 0, tokens, len(sent) / done.seconds))
        return found

    async def disagreement(self, head: str, queries: int = 8) -> float:
        """The greatest difference between a label's probability here and at vLLM's server."""
        load = self._chat(Load(self._target, queries, (head,), due=1, seed=self._fresh()))
        _, read = await self._elsewhere(openai_requests.ask, load)
        ours = await asyncio.to_thread(self._replies, head, load)
        _, _, forced = self._bare.question(head)
        worst = 0.0
        for nodes, reply in zip(read, ours, strict=True):
            if isinstance(reply, LrmError):
                raise reply
            weights = np.exp(forced.trie.combine(nodes))
            here = np.array(list(reply.probabilities.values()))
            worst = max(worst, float(np.abs(weights / weights.sum() - here).max()))
        return worst

    async def _take(self, side: str, load: Load) -> Took:
        await self._settle(side)
        if side == BARE:
            return await self._bare.run(load)
        if side == OPENAI:
            seconds, _ = await self._elsewhere(openai_requests.ask, self._chat(load))
            return Took(seconds, [])
        sent = replace(load, encoding="jpeg" if side == JPEG else "raw")
        return await self._elsewhere(step, sent)

    async def _settle(self, side: str) -> None:
        """Waits until another engine's processes are idle."""
        if OPENAI in (side, self._last) and side != self._last:
            await asyncio.sleep(SETTLING_SECONDS)
        self._last = side

    async def _elsewhere(self, call: Callable[[LoadT], ResultT], load: LoadT) -> ResultT:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._learner, call, load)

    def _chat(self, load: Load) -> ChatLoad:
        (head,) = load.heads
        profile, turn, forced = self._bare.question(head)
        nodes = [
            Node(profile.answer_prefix + self._bare.text(node.before), node.children)
            for node in forced.trie.nodes
        ]
        return ChatLoad(
            self._openai, load.environments, turn.parts, tuple(nodes), load.due, load.seed
        )

    def _replies(self, head: str, load: ChatLoad) -> list[Reply | LrmError]:
        """To what ``openai_requests.ask`` asks in the first due step."""
        first, second = (frames(load.environments, load.seed + at) for at in (0, 1))
        queries = []
        for at in range(load.environments):
            shown = {"initial": first[at], "previous": first[at], "current": second[at]}
            roles = [part.value for part in load.turn if isinstance(part, Role)]
            asked = {role: shown[role] for role in roles}
            queries.append(Query(head, TASK, **asked))
        with RewardClient(self._target, encoder=FrameEncoder("jpeg")) as client:
            return client.score_batch(queries)

    def _fresh(self) -> int:
        # More than one side's steps: a frame is never shown twice.
        self._seed += 100_000
        return self._seed
