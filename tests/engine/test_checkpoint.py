"""Opening a checkpoint: where it lies, what identifies it, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from lrm_server.config import Settings
from lrm_server.engine import checkpoint_files
from lrm_server.engine.checkpoint_files import fingerprint, locate
from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.canary import check_canary
from lrm_server.heads.manifest import MANIFEST_NAME, read_manifest, served_heads
from tests.engine_host import EngineHost, engine_host


def test_a_folder_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = Settings(model=str(tmp_path / "nowhere"))
    with pytest.raises(DomainError, match="there is no folder") as error, engine_host(settings):
        pytest.fail("a server started without a checkpoint")
    assert error.value.field == "model"


@pytest.mark.parametrize(
    ("name", "repo", "folder", "revision"),
    [
        ("owner/name", "owner/name", "", None),
        ("owner/name@v1.0", "owner/name", "", "v1.0"),
        ("owner/name/heads/progress", "owner/name", "heads/progress", None),
    ],
)
def test_a_hub_name_may_name_a_folder_and_a_revision(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    repo: str,
    folder: str,
    revision: str | None,
) -> None:
    asked = {}

    def snapshot_download(repo: str, **options: object) -> str:
        asked.update(options, repo=repo)
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        return str(tmp_path)

    monkeypatch.setattr(checkpoint_files, "snapshot_download", snapshot_download)
    assert locate(name) == tmp_path / folder
    assert (asked["repo"], asked["revision"]) == (repo, revision)
    assert all(str(pattern).startswith(folder) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize("name", ["/no/where", "./nowhere", "nowhere", "a/../b", "http://a/b"])
def test_what_is_neither_a_folder_nor_a_hub_name_never_reaches_the_hub(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(checkpoint_files, "snapshot_download", lambda *a, **k: pytest.fail("asked"))
    with pytest.raises(DomainError, match="there is no folder"):
        locate(name)


def test_a_half_applied_adapter_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = Settings(adapters={"progress": str(tmp_path)})
    with pytest.raises(DomainError, match="adapter progress is refused"), engine_host(settings):
        pytest.fail("a server started with half an adapter")


def test_the_fingerprint_changes_with_one_weight(tmp_path: Path) -> None:
    copy = shutil.copytree(locate("embedded"), tmp_path / "copy")
    before = fingerprint([copy])
    assert before == fingerprint([locate("embedded")])
    assert before != fingerprint([copy], "float32")
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(bytes(data))
    assert fingerprint([copy]) != before


def test_a_canary_that_answers_otherwise_is_an_error_that_says_so(served: EngineHost) -> None:
    folder = locate("embedded")
    canary = read_manifest(folder / MANIFEST_NAME).canary
    assert canary is not None
    served.run(check_canary(served.scorer, canary, folder))
    for query in canary.queries:
        shifted = dict(
            zip(query.probabilities, reversed(query.probabilities.values()), strict=True)
        )
        wrong = canary.model_copy(
            update={"queries": (query.model_copy(update={"probabilities": shifted}),)}
        )
        with pytest.raises(DomainError, match="canary failed") as error:
            served.run(check_canary(served.scorer, wrong, folder))
        assert error.value.code is ErrorCode.INTERNAL


def test_a_manifest_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    path.write_text(yaml.safe_dump({"id": "x", "heads": {"progress": {"profil": "lrm_progress"}}}))
    with pytest.raises(DomainError, match=r"heads\.progress\.profil"):
        read_manifest(path)


def test_a_head_takes_the_adapter_that_it_names_or_that_is_named_after_it(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    heads = {
        "progress": {"profile": "lrm_progress"},
        "completion": {"profile": "lrm_completion", "adapter": "mine"},
    }
    path.write_text(yaml.safe_dump({"id": "x", "heads": heads}, sort_keys=False))
    served = served_heads(read_manifest(path), {"progress": "p", "mine": "m"})
    assert [head.adapter for head in served] == ["progress", "mine"]
    with pytest.raises(DomainError, match="mine, which is not given"):
        served_heads(read_manifest(path), {})
    with pytest.raises(DomainError, match="idle answers no head"):
        served_heads(read_manifest(path), {"mine": "m", "idle": "i"})
