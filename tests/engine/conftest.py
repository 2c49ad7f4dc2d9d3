"""A second engine, in full precision and with adapters, for comparisons with transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from lrm_server.config import Settings
from lrm_server.engine.checkpoint_files import locate
from lrm_server.heads.library import load_profile
from tests.engine.lora import make_adapter
from tests.engine.reference import Reference
from tests.engine_host import EngineHost, engine_host

ADAPTERS = ("a", "b", "c")

# Labels of several tokens with shared beginnings: "up" begins "upward".
SIDES = {
    "name": "sides",
    "head": "sides",
    "required_frames": ["current"],
    "prompt": [{"text": "The task is: {task}.\n<current>\nWhich side?"}],
    "labels": [
        {"label": name, "value": value}
        for value, name in enumerate(["left side", "left hand", "up", "upward", "right"])
    ],
    "answer_key": "side",
    "answer_prefix": '{ "side": "',
    "terminator": '" }',
    "label_mass_floor": 0.0,
}


@dataclass(frozen=True)
class Exact:
    """An engine in float32, the adapters it serves, and the same weights in transformers."""

    host: EngineHost
    adapters: dict[str, Path]
    reference: Reference


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exact]:
    """LRM's heads, sides, roboreward, topreward; progress_a, _b, _c on adapters."""
    folder = tmp_path_factory.mktemp("exact")
    checkpoint = locate("embedded")
    adapters = {
        name: make_adapter(folder / name, checkpoint, seed) for seed, name in enumerate(ADAPTERS)
    }
    (folder / "sides.yaml").write_text(yaml.safe_dump(SIDES))
    heads: dict[str, dict[str, str]] = {
        name: {"profile": f"lrm_{name}", "readout": "likelihood"}
        for name in ("contrastive", "progress", "completion", "tri")
    }
    heads["sides"] = {"profile": "sides"}
    heads |= {name: {"profile": name} for name in ("roboreward", "topreward")}
    # The checkpoint was not trained for it: its probabilities are compared, however small.
    roboreward = load_profile("roboreward").model_copy(update={"label_mass_floor": 0.0})
    (folder / "roboreward.yaml").write_text(roboreward.model_dump_json(exclude_unset=True))
    heads |= {f"progress_{name}": {"profile": "lrm_progress", "adapter": name} for name in ADAPTERS}
    manifest = folder / "lrm.yaml"
    manifest.write_text(
        yaml.safe_dump(
            {
                "id": "exact",
                "heads": heads,
                "adapters": {name: str(path) for name, path in adapters.items()},
            }
        )
    )
    settings = Settings(
        manifest=manifest, profiles=folder, dtype="float32", enforce_eager=True, max_sequences=16
    )
    with engine_host(settings) as host:
        yield Exact(host, adapters, Reference(checkpoint, torch.float32))
