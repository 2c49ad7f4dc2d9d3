"""The work of ``lrm record``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import write_folder
from lrm_server.recordings.layouts import Layout
from lrm_server.recordings.lerobot.writing import Storage, write_lerobot
from lrm_server.recordings.policies import make_environment, make_policy, steps_a_second
from lrm_server.recordings.recorder import Recorder, record_episodes
from lrm_server.recordings.targets import new_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is recorded; see the options of ``lrm record``."""

    env_id: str
    task: str
    episodes: int
    policy: str
    camera: str
    every: int
    seed: int
    longest: int
    imports: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def record_data_set(recording: Recording, out: Path, layout: Layout) -> str:
    """Records episodes into ``out``; returns what was recorded, in a line.

    Raises:
        RecordingError: the environment, the policy or a choice does not fit, or ``out`` holds
            something.
        OSError: ``out`` cannot be written.
    """
    # A policy's module is looked for where the command is called, as with python -m.
    sys.path.insert(0, "")
    told: Counter[bool | None] = Counter()
    env = make_environment(recording.env_id, recording.imports, _options(recording.options))
    with _closing(env), _written(out, layout) as folder:

        def take(episode: RecordedEpisode) -> None:
            write_folder(episode, folder)
            told[episode.success] += 1

        recorder = Recorder(
            env,
            task=recording.task,
            taken=take,
            every=recording.every,
            camera=recording.camera,
            group=recording.env_id,
            kind=recording.policy,
            fps=steps_a_second(env),
        )
        played = record_episodes(
            recorder,
            make_policy(recording.policy, env, recording.seed),
            episodes=recording.episodes,
            seed=recording.seed,
            longest=recording.longest,
        )
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            for _ in progress.track(played, total=recording.episodes, description="recording"):
                pass
    return _summary(told, out)


def _summary(told: Counter[bool | None], out: Path) -> str:
    episodes = told.total()
    if told[None] == episodes:
        return f"{out}: {episodes} episodes; the environment did not say which succeeded"
    return f"{out}: {episodes} episodes, {told[True]} succeeded, {told[None]} unknown"


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise RecordingError(f"--env-option {pair} must be NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            # Words need no quotes.
            options[name] = value
    return options


@contextmanager
def _closing(env: Any) -> Iterator[None]:
    try:
        yield
    finally:
        env.close()


@contextmanager
def _written(out: Path, layout: Layout) -> Iterator[Path]:
    """Where episodes go as folders, one by one; they become ``out`` when the context ends.

    LeRobot's layout says at its beginning what all episodes have: they wait beside it. What was
    recorded before a failure or an interrupt is written.
    """
    new_folder(out)
    if layout is Layout.FOLDERS:
        yield out
        return
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}-") as waiting:
        try:
            yield Path(waiting)
        finally:
            if any(Path(waiting).iterdir()):
                storage: Storage = "video" if layout is Layout.LEROBOT else "images"
                write_lerobot(open_data_set(Path(waiting)), out, storage=storage)
