"""Plots of how the cost grows."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from bench.growth import EAGER, Point
from bench.growth_plots import AXES, draw


def test_each_question_is_drawn_into_a_file_of_its_own(tmp_path: Path) -> None:
    points = [
        Point("environments", "1", 10.0, 10.0),
        Point("environments", "64", 100.0, 100.0),
        Point("adapters", EAGER, 50.0, 150.0),
        Point("adapters", "1", 40.0, 120.0),
    ]
    drawn = draw(points, "a machine", tmp_path / "plots")
    assert [path.name for path in drawn] == ["environments.png", "adapters.png"]
    for path in drawn:
        with Image.open(path) as image:
            assert image.size == (572, 352)


def test_every_question_has_an_axis() -> None:
    assert set(AXES) == {"environments", "frame size", "heads per frame", "adapters"}
