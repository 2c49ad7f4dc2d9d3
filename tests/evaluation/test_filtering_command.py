"""``lrm filter`` against a scripted server: what is written, printed, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from lrm_client.wire import reward_pb2 as pb
from lrm_server.cli import app
from lrm_server.recordings.data_set import open_data_set
from lrm_server.recordings.episode import RecordedEpisode, RecordingError
from lrm_server.recordings.folders import write_folders
from lrm_server.recordings.pixels import as_pixels
from tests.client.scripted import Asked, ScriptedCore, problem
from tests.client.scripted_grpc import serve_grpc

FRAMES = 4
DATA = "data/chunk-000/file-000.parquet"
WRIST = "observation.images.wrist"


def level_of(asked: Asked) -> int:
    """The grey level of the frame that is judged: a PNG file, or a video's pixels as they are."""
    if not asked.frame.startswith(b"\x89PNG"):
        return int(np.frombuffer(asked.frame, np.uint8).mean())
    return int(as_pixels(asked.frame).mean())


def episode(name: str, level: int, success: bool | None) -> RecordedEpisode:
    """Black frames, the last two grey of a level."""
    frames = [np.full((32, 32, 3), 0 if i < 2 else level, np.uint8) for i in range(FRAMES)]
    return RecordedEpisode(
        name, "lift", frames, np.arange(FRAMES, dtype=np.int64), FRAMES - 1, success=success
    )


EPISODES = (
    episode("won", 200, True),
    episode("lost", 20, False),
    episode("lucky", 180, False),
    episode("missed", 40, True),
)


class TwoHeads(ScriptedCore):
    """Serves completion beside progress; what it expects is its value."""

    def _ListModels(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:  # noqa: N802
        response = super()._ListModels(request)
        heads = response.models[0].heads
        heads.add(name="completion", profile="lrm-completion", required_frames=["current"])
        return response

    def _Score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:  # noqa: N802
        response = super()._Score(request)
        for result in response.results:
            if result.HasField("reply"):
                result.reply.expected = result.reply.value
        return response


@pytest.fixture
def core() -> ScriptedCore:
    core = TwoHeads()
    core.answer = lambda asked: level_of(asked) / 200
    return core


@pytest.fixture
def server(core: ScriptedCore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("LRM_SERVER", raising=False)
    with serve_grpc(core) as target:
        yield f"grpc://{target}"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_folders(EPISODES, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def lerobots(tmp_path: Path) -> Path:
    """Two cameras; at its end, the first of three episodes is darker than the others."""
    written = Path(__file__).parents[1] / "recordings/lerobot_v30"
    return Path(shutil.copytree(written, tmp_path / "data"))


def run(data: Path, server: str, *arguments: str) -> tuple[Result, Path]:
    out = data.parent / "kept"
    command = ["filter", str(data), str(out), "--server", server, "--last", "2", *arguments]
    return CliRunner().invoke(app, command), out


def test_the_finished_episodes_are_kept_with_their_scores(data: Path, server: str) -> None:
    result, out = run(data, server)
    assert result.exit_code == 0, result.output
    kept = open_data_set(out)
    assert kept.layout == "folders"
    assert not kept.problems
    assert [one.id for one in kept] == ["lucky", "won"]
    (won,) = (one for one in kept if one.id == "won")
    assert won.success is True
    assert np.isnan(won.columns["score.completion"][:2]).all()
    assert won.columns["score.completion"][2:] == pytest.approx([1.0, 1.0])
    assert "precision 0.500, recall 0.500, F1 0.500" in result.stdout


def test_every_decision_is_a_row(data: Path, server: str) -> None:
    _, out = run(data, server)
    rows = {row["episode"]: row for row in pq.read_table(out / "decisions.parquet").to_pylist()}
    assert {name: row["kept"] for name, row in rows.items()} == {
        "won": True,
        "lucky": True,
        "lost": False,
        "missed": False,
    }
    (head,) = rows["lost"]["heads"]
    assert (head["head"], head["complete"], head["steps"]) == ("completion", False, [2, 3])
    assert head["score"] == pytest.approx(0.1)
    summary = json.loads((out / "filter.json").read_text())
    assert summary["kept"] == ["lucky", "won"]
    assert summary["precision"] == 0.5
    assert summary["criterion"]["thresholds"] == {"completion": 0.5}


def test_a_threshold_is_taken_for_all_heads_or_for_its_own(data: Path, server: str) -> None:
    result, out = run(data, server, "--threshold", "0.95")
    assert result.exit_code == 0
    assert [one.id for one in open_data_set(out)] == ["won"]
    summary = json.loads((out / "filter.json").read_text())
    assert (summary["precision"], summary["recall"]) == (1.0, 0.5)


def test_any_head_is_enough_where_asked(data: Path, server: str) -> None:
    thresholds = ("--threshold", "completion=1.0", "--threshold", "progress=0.15")
    result, out = run(data, server, "--heads", "completion,progress", "--agree", "any", *thresholds)
    assert result.exit_code == 0, result.output
    assert {one.id for one in open_data_set(out)} == {"won", "lucky", "missed"}


def test_what_cannot_be_scored_is_listed_and_not_kept(
    data: Path, server: str, core: ScriptedCore
) -> None:
    def answer(asked: Asked) -> float | pb.Problem:
        level = level_of(asked)
        return problem("label_mass_low", "not answering") if level > 190 else level / 200

    core.answer = answer
    result, out = run(data, server)
    assert result.exit_code == 1
    assert [one.id for one in open_data_set(out)] == ["lucky"]
    assert "not judged: won: completion at step 2: label_mass_low: not answering" in result.stdout
    summary = json.loads((out / "filter.json").read_text())
    assert summary["unjudged"] == 1
    assert summary["recall"] == 0.0
    rows = {row["episode"]: row for row in pq.read_table(out / "decisions.parquet").to_pylist()}
    assert rows["won"]["heads"][0]["score"] is None


def test_a_kept_episode_is_whole_or_not_kept(data: Path, server: str) -> None:
    # This frame is not among those that are judged, but it would be missing from the kept set.
    (data / "won" / "0000.png").write_bytes(b"broken")
    (data / "lost" / "episode.json").write_text("{}")
    result, out = run(data, server)
    assert result.exit_code == 1
    assert [one.id for one in open_data_set(out)] == ["lucky"]
    assert "not judged: won" in result.stdout
    assert "not readable: lost" in result.stdout


def test_nothing_kept_is_said_with_what_cannot_be_computed(
    data: Path, server: str, core: ScriptedCore
) -> None:
    core.answer = lambda _: 0.1
    result, out = run(data, server)
    assert result.exit_code == 1
    assert "0 of 4 episodes are kept" in result.stdout
    assert "precision none (nothing was kept), recall 0.000" in result.stdout
    assert json.loads((out / "filter.json").read_text())["precision"] is None


def test_without_labels_there_is_no_precision(tmp_path: Path, server: str) -> None:
    write_folders([episode("one", 200, None)], tmp_path / "data")
    result, out = run(tmp_path / "data", server)
    assert result.exit_code == 0
    assert "no episode that was judged says whether it succeeded" in result.stdout
    assert len(open_data_set(out)) == 1


def test_all_that_a_lerobot_data_set_says_is_kept(lerobots: Path, server: str) -> None:
    result, out = run(lerobots, server, "--camera", "front", "--threshold", "0.4")
    assert result.exit_code == 0, result.output
    before, after = pq.read_table(lerobots / DATA), pq.read_table(out / DATA)
    names = [name for name in before.column_names if name not in ("index", "episode_index")]
    assert {"next.reward", "next.success", "next.done", WRIST} < set(names)
    assert after.select(names).equals(before.select(names).slice(6))
    video = "videos/observation.images.front/chunk-000/file-000.mp4"
    assert (out / video).read_bytes() == (lerobots / video).read_bytes()
    for camera in ("front", "wrist"):
        kept = open_data_set(out, camera=camera)
        assert [one.id for one in kept] == ["episode_000001", "episode_000002"]
        assert kept[1].columns["score.completion"].tolist() == pytest.approx([0.7], abs=0.01)


def test_an_episode_is_kept_only_with_the_frames_of_all_cameras(
    lerobots: Path, server: str
) -> None:
    table = pq.read_table(lerobots / DATA)
    place = table.schema.get_field_index(WRIST)
    cells = table.column(place).to_pylist()
    cells[7]["bytes"] = b"broken"
    column = pa.array(cells, table.schema.field(place).type)
    pq.write_table(table.set_column(place, WRIST, column), lerobots / DATA)
    result, out = run(lerobots, server, "--camera", "front", "--threshold", "0.4")
    assert result.exit_code == 1
    assert "not judged: episode_000001" in result.stdout
    assert [one.id for one in open_data_set(out, camera="wrist")] == ["episode_000002"]


@pytest.mark.parametrize(
    ("error", "status"),
    [(RecordingError("it does not fit"), 2), (OSError(28, "No space left on device"), 1)],
)
def test_decisions_outlive_a_copy_that_fails(
    data: Path, server: str, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(data_set: object, ids: object, to: Path, scores: object) -> None:
        (to / "half").mkdir()
        raise error

    monkeypatch.setattr("lrm_server.commands.filter_run.copy_episodes", fail)
    result, out = run(data, server)
    assert result.exit_code == status
    assert str(error) in result.stderr
    assert "decisions.parquet says which" in result.stderr
    assert pq.read_table(out / "decisions.parquet").num_rows == 4
    assert {path.name for path in out.iterdir()} == {"decisions.parquet", "filter.json"}
    assert {path.name for path in data.parent.iterdir()} == {"data", "kept"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--heads", "contrastive"), "contrastive cannot say"),
        (("--threshold", "much"), "no number"),
        (("--threshold", "progress=0.5"), "'progress' is not among --heads"),
        (("--threshold", "2"), "must lie in [0, 1]"),
        (("--camera", "wrist"), "name no cameras"),
    ],
)
def test_wrong_usage_ends_with_status_2_before_anything_is_asked(
    data: Path, server: str, core: ScriptedCore, arguments: tuple[str, ...], words: str
) -> None:
    result, out = run(data, server, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not core.requests
    assert not out.exists()


def test_ids_that_share_a_folder_are_refused_before_anything_is_asked(
    data: Path, server: str, core: ScriptedCore
) -> None:
    path = data / "won/episode.json"
    path.write_text(path.read_text().replace('"won"', '"lo/st"'))
    (data / "lost/episode.json").write_text(
        (data / "lost/episode.json").read_text().replace('"lost"', '"lo_st"')
    )
    result, out = run(data, server)
    assert result.exit_code == 2
    assert "'lo_st' and 'lo/st'" in result.stderr
    assert not core.requests
    assert not out.exists()


def test_a_target_that_holds_something_is_left_alone(data: Path, server: str) -> None:
    _, out = run(data, server)
    before = sorted(out.rglob("*"))
    result, _ = run(data, server)
    assert result.exit_code == 2
    assert "name a new folder" in result.stderr
    assert sorted(out.rglob("*")) == before


def test_no_server_ends_with_status_1(data: Path) -> None:
    result, _ = run(data, "grpc://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no server answers" in result.stderr
