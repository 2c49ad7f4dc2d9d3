"""Settings of one engine: which checkpoint it serves, where and how its model runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

Positive = Annotated[int, Field(ge=1)]

Numbers = Annotated[
    str,
    # YAML takes a single one for a number.
    BeforeValidator(lambda given: str(given) if isinstance(given, int) else given),
    Field(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$"),
]


class EngineSettings(BaseModel):
    """What can be set for every engine of a server by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The checkpoint.
    model: str = Field("embedded", description="Checkpoint: embedded, a folder, or a hub name.")
    manifest: Path | None = Field(
        None, description="Manifest to use instead of the one beside the weights."
    )
    base: str | None = Field(
        None,
        description="Of a checkpoint without a tokeniser (Robometer): the one it was trained from.",
    )
    profiles: Path | None = Field(None, description="Folder of further profiles (YAML).")
    heads: str | None = Field(
        None,
        description="Heads of the checkpoint, or profiles, to serve, with commas in between; the "
        "checkpoint's by default.",
    )
    adapters: dict[str, str] = Field(
        default_factory=dict,
        description="LoRA adapters by head, as NAME=FOLDER or NAME=HUB_NAME.",
    )

    # Where the model runs.
    backend: Literal["vllm", "chat", "clip"] = Field(
        "vllm",
        description="vllm serves a checkpoint in this process, clip a CLIP; chat asks the model of "
        "that name at remote_url.",
    )
    remote_url: str | None = Field(
        None, description="Base URL of an OpenAI-compatible endpoint, such as https://host/v1."
    )
    remote_key: SecretStr | None = Field(
        None, description="Key of the endpoint; best given as LRM_REMOTE_KEY."
    )
    remote_concurrency: Positive = Field(
        32, description="Requests to the endpoint at once; more wait."
    )
    remote_timeout_seconds: float = Field(
        60, gt=0, description="Longest that the endpoint may take, retries included."
    )
    remote_prefill: Literal["auto", "yes", "no"] = Field(
        "auto",
        description="Whether the endpoint continues an assistant's message; auto finds out.",
    )

    planner_url: str | None = Field(
        None,
        description="Endpoint of the text model that makes subtasks; the served model by default.",
    )
    planner_model: str = Field("", description="The text model's name there.")
    planner_key: SecretStr | None = Field(
        None, description="Key of that endpoint; best given as LRM_PLANNER_KEY."
    )
    max_decompositions: Positive = Field(
        1024, description="Tasks whose subtasks are kept; the one not used for longest goes first."
    )
    max_decomposing: Positive = Field(
        64, description="Tasks whose subtasks are being made at once."
    )

    # The engine.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number type of the weights; auto takes the checkpoint's."
    )
    max_model_len: Positive = Field(4096, description="Tokens in a prompt and its answer.")
    max_sequences: Positive = Field(128, description="Sequences that the engine runs at once.")
    max_queue: Positive = Field(
        8192, description="Questions admitted at once; beyond it requests are refused as overload."
    )
    max_queue_mib: Positive = Field(
        1024, description="Frames of admitted questions, as they came, in MiB."
    )
    max_client_queue: Positive = Field(4096, description="Questions admitted of one client.")
    max_client_queue_mib: Positive = Field(
        512, description="Frames of one client's admitted questions, in MiB."
    )
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        description="Memory of each copy of the model for keys and values; by default 1 on a CPU, "
        "which a laptop has, and what is free on a GPU.",
    )
    gpu_memory_utilization: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Share of the GPU's memory that the engine may take; engines on one GPU take "
        "1 together at most.",
    )
    devices: Numbers | None = Field(
        None,
        description="GPUs of the engine by their numbers, as 0-1; the first ones by default.",
    )
    tensor_parallel: Positive = Field(1, description="GPUs that one copy of the model spans.")
    data_parallel: Positive = Field(
        1, description="Copies of the model; those on a CPU share the engine's cores evenly."
    )
    engine_threads: int | None = Field(
        None, ge=1, description="Most threads of a CPU engine; as many as it has cores by default."
    )
    cores: Numbers | None = Field(
        None,
        description="Cores of a CPU engine, as 0-3,6; engines share all cores evenly by default.",
    )
    frame_threads: Positive = Field(2, description="Threads that decode and prepare frames.")
    frame_cache_mib: Positive = Field(
        256,
        description="Prepared frames that are kept, in MiB; as much for prepared videos, and as "
        "much in the engine's process, so that a frame is sent there once.",
    )
    encoder_cache_mib: Positive = Field(
        256, description="Encoded frames that a CPU engine keeps beside its model, in MiB."
    )
    enforce_eager: bool = Field(False, description="Start sooner, without compiling the model.")

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads or profiles that are chosen; () for all of the checkpoint's."""
        names = (name.strip() for name in (self.heads or "").split(","))
        return tuple(name for name in names if name)

    def endpoint_problem(self) -> str:
        """What is missing or too much of the settings that name remote models, or ""."""
        if self.backend == "chat" and not self.remote_url:
            return "backend is chat: set remote_url to the endpoint's base URL"
        if self.backend != "chat" and self.remote_url:
            return f"remote_url is set and backend is {self.backend}: set backend to chat"
        if bool(self.planner_url) != bool(self.planner_model):
            return "planner_url and planner_model go together: give both, or neither"
        return ""
