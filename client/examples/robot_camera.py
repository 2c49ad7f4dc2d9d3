"""Rewards of a camera or a video at a fixed rate, without a robot.

Run it against a server on this machine::

    pip install lrm opencv-python
    python robot_camera.py --task "push the cube to the target" --source 0 --rate 10
    python robot_camera.py --task "push the cube to the target" --source rollout.mp4 --loop

Once a second it prints the newest reward, the step that the reward belongs to, its age, and
what became of the frames. A robot's program has its own loop in the place of ``watch``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lrm_client import LrmError, Reading, RewardClient, RobotSession

HEADER = "  tick  reward of step     age   sent dropped  late"


@dataclass(frozen=True)
class Args:
    """What the command line says."""

    task: str
    source: str
    server: str
    heads: list[str]
    rate: float
    interval: int
    max_age: float
    loop: bool
    show: bool


def arguments() -> Args:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Rewards of a camera or a video.")
    parser.add_argument("--task", required=True, help="the task in words")
    parser.add_argument("--source", default="0", help="number of a camera, or a video file")
    parser.add_argument("--server", default="127.0.0.1:50051", help="host:port or http:// URL")
    parser.add_argument("--heads", nargs="+", default=["progress"], metavar="HEAD")
    parser.add_argument("--rate", type=float, default=10.0, help="ticks a second")
    parser.add_argument("--interval", type=int, default=1, help="ticks from query to query")
    parser.add_argument("--max-age", type=float, default=1.0, help="seconds a reward may be old")
    parser.add_argument("--loop", action="store_true", help="begin the video again at its end")
    parser.add_argument("--show", action="store_true", help="show the frames in a window")
    return Args(**vars(parser.parse_args()))


def frames(args: Args) -> Iterator[NDArray[np.uint8]]:
    """The source's frames for one tick after the other: uint8 (H, W, 3), RGB.

    A camera gives the frame of the moment. A video is played at its own speed: the frames
    between two ticks are skipped, and one is repeated when it has fewer than the ticks.
    """
    camera = args.source.isdigit()
    capture = cv2.VideoCapture(int(args.source) if camera else args.source)
    if not capture.isOpened():
        raise SystemExit(f"{args.source} cannot be opened: neither a camera nor a video")
    # A camera's queue holds frames back; what counts is the newest.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    fps = args.rate if camera else capture.get(cv2.CAP_PROP_FPS) or args.rate
    tick, read = 0, 1
    given, image = capture.read()
    try:
        while given:
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            tick += 1
            while given and read <= tick * fps / args.rate:
                given, image = capture.read()
                read += 1
    finally:
        capture.release()


def watch(session: RobotSession, args: Args) -> None:
    """One episode: a pass of the video, or the camera until it is switched off."""
    source = frames(args)
    frame = next(source, None)
    if frame is None:
        raise SystemExit(f"{args.source} has no frame")
    try:
        session.reset(frame, wait_s=args.max_age)
    except LrmError as error:
        # The session goes on trying, and the readings say when it succeeds.
        print(f"no episode yet: {error.code}: {error}")
    each_second = max(1, round(args.rate))
    for frame in source:
        reading = session.observe(frame)
        if reading.tick % each_second == 0:
            report(reading, session)
        if args.show:
            show(frame, reading)
        session.rate.sleep()
    # The last frame ends the episode: it is asked whatever the interval, and waited for.
    session.observe(frame, final=True)
    report(session.latest(wait_s=args.max_age), session)


def report(reading: Reading, session: RobotSession) -> None:
    """Prints a line of the table."""
    counters = session.counters
    reward = f"{reading.reward:7.3f}" if reading.fresh else f"{'-':>7}"
    step = "-" if reading.step is None else reading.step
    age = "-" if reading.age_s is None else f"{reading.age_s:.2f} s"
    line = f"{reading.tick:6d} {reward} {step:>7} {age:>7}"
    line += f" {counters.sent:6d} {counters.dropped:7d} {counters.overruns:5d}"
    print(f"{line}  {reading.explanation}".rstrip(), flush=True)


def show(frame: NDArray[np.uint8], reading: Reading) -> None:
    """Shows a frame with its reward in a window."""
    image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    text = f"{reading.reward:.3f}" if reading.fresh else "no reward"
    cv2.putText(image, text, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 255, 0), 2)
    cv2.imshow("robot_camera", image)
    cv2.waitKey(1)


def main() -> None:
    """Watches the source until it ends, or until Ctrl-C."""
    args = arguments()
    print(HEADER)
    with (
        RewardClient(args.server) as client,
        client.robot_session(
            args.task,
            args.heads,
            rate_hz=args.rate,
            interval=args.interval,
            max_age_s=args.max_age,
        ) as session,
    ):
        try:
            while True:
                watch(session, args)
                if not args.loop:
                    return
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
