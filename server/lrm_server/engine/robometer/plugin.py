"""Tells vLLM of the architecture, in every process that it starts.

vLLM's core and workers are processes of their own, which load what stands under
the entry point ``vllm.general_plugins``. An installed lrm names ``register``
there; ``plugin_path`` names it where lrm runs from its sources.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

from lrm_server.engine.robometer.structure import ARCHITECTURE

GROUP: Final = "vllm.general_plugins"
NAME: Final = "lrm_robometer"
_PLUGIN_PATH: Final = str(Path(__file__).parent / "plugin_path")


def register() -> None:
    """Registers the model by its place, without importing it: every vLLM process runs this."""
    from vllm.model_executor.models.registry import ModelRegistry

    ModelRegistry.register_model(ARCHITECTURE, "lrm_server.engine.robometer.model:RFM")


def introduce() -> None:
    """Registers the model in this process and lets those that it starts find the plug-in."""
    if NAME not in entry_points(group=GROUP).names:
        # A process that is spawned takes over this one's path, not its environment's.
        sys.path.append(_PLUGIN_PATH)
    from vllm.model_executor.models.registry import ModelRegistry
    from vllm.plugins import load_general_plugins

    from lrm_server.engine.robometer.model import RFM

    load_general_plugins()  # type: ignore[no-untyped-call]
    # With the class at hand vLLM need not start a process to inspect it.
    ModelRegistry.register_model(ARCHITECTURE, RFM)
