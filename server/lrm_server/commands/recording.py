"""The work of ``lrm record``."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import EPISODE_FILE, write_folder
from lrm_server.recordings.layouts import Layout
from lrm_server.recordings.lerobot.writing import Storage, write_lerobot
from lrm_server.recordings.policies import make_environment, make_policy, steps_a_second
from lrm_server.recordings.recorder import Recorder, record_episodes
from lrm_server.recordings.targets import new_folder
from lrm_server.recordings.video import check_even


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
        RecordingError: the environment, the policy or a choice does not fit, ``out`` holds
            something, or what was recorded cannot be converted; it is kept, and named.
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
            check=_Sizes(layout).check,
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


class _Sizes:
    """Whether frames fit into the layout: known at the first, not when all are recorded."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._first: tuple[int, ...] | None = None

    def check(self, frame: NDArray[np.uint8]) -> None:
        if self._layout is Layout.FOLDERS:
            return
        height, width, _ = frame.shape
        if self._layout is Layout.LEROBOT:
            check_even(height, width)
        if self._first is None:
            self._first = frame.shape
        if frame.shape != self._first:
            raise RecordingError(
                f"a frame has the shape {frame.shape}, but the first {self._first}: a LeRobot data "
                f"set has frames of one size, {Layout.FOLDERS.value} take any"
            )


@contextmanager
def _written(out: Path, layout: Layout) -> Iterator[Path]:
    """Where episodes go as folders, one by one; they become ``out`` when the context ends.

    LeRobot's layout says at its beginning what all episodes have: they wait beside it. What was
    recorded before a failure or an interrupt is written, and what cannot be written is left where
    it waits.
    """
    new_folder(out)
    if layout is Layout.FOLDERS:
        yield out
        return
    waiting = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=f".{out.name}-"))
    try:
        yield waiting
    except BaseException:
        # The caller is told of what went wrong first.
        try:
            _convert(waiting, out, layout)
        except (RecordingError, OSError) as error:
            Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        raise
    _convert(waiting, out, layout)


def _convert(waiting: Path, out: Path, layout: Layout) -> None:
    """Writes the episodes of ``waiting`` to ``out`` and removes it, or leaves all of them there."""
    if any(waiting.glob(f"*/{EPISODE_FILE}")):
        storage: Storage = "video" if layout is Layout.LEROBOT else "images"
        try:
            write_lerobot(open_data_set(waiting), out, storage=storage)
        except (RecordingError, OSError) as error:
            shutil.rmtree(out, ignore_errors=True)
            message = f"{out}: {error}; the episodes that were recorded are kept in {waiting}"
            raise (OSError if isinstance(error, OSError) else RecordingError)(message) from error
    shutil.rmtree(waiting)
