"""Settings of the server: flags, then ``LRM_...`` variables, then a YAML file, then defaults."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

Positive = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """One class for all settings; every field is a flag, a variable and a key of the YAML file."""

    model_config = SettingsConfigDict(
        env_prefix="LRM_", extra="forbid", frozen=True, env_nested_delimiter="__"
    )

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

    # The engine.
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number type of the weights; auto takes the checkpoint's."
    )
    max_model_len: Positive = Field(4096, description="Tokens in a prompt and its answer.")
    max_sequences: Positive = Field(128, description="Sequences that the engine runs at once.")
    max_queue: Positive = Field(
        4096, description="Questions admitted at once; beyond it requests are refused as overload."
    )
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        description="Memory for keys and values; by default 1 on a CPU, what is free on a GPU.",
    )
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="Share of the GPU's memory that the engine may take."
    )
    tensor_parallel: Positive = Field(1, description="GPUs that one copy of the model spans.")
    data_parallel: Positive = Field(1, description="Copies of the model.")
    engine_threads: int | None = Field(
        None, ge=1, description="Threads of a CPU engine; all cores by default."
    )
    frame_threads: Positive = Field(2, description="Threads that decode and prepare frames.")
    enforce_eager: bool = Field(False, description="Start sooner, without compiling the model.")

    # The network.
    host: str = Field("127.0.0.1", description="Address to listen on; off loopback needs a token.")
    http_port: Port = Field(8080, description="Port of HTTP; 0 picks a free one.")
    grpc_port: Port = Field(50051, description="Port of gRPC; 0 picks a free one.")
    token: SecretStr | None = Field(None, description="Bearer token that requests must carry.")
    token_file: Path | None = Field(None, description="File that holds the token.")

    # Limits.
    max_message_mib: Positive = Field(64, description="Largest request or response, in MiB.")
    max_frame_mib: Positive = Field(8, description="Largest frame as it travels, in MiB.")
    max_frame_pixels: Positive = Field(4096 * 2160, description="Most pixels in a frame.")
    max_batch: Positive = Field(4096, description="Most queries, steps or frames in one request.")
    max_requests: Positive = Field(
        1024, description="Most requests in flight; a robot's stream counts as one."
    )
    max_episodes: Positive = Field(20_000, description="Episodes that may be open at once.")
    max_episode_memory_mib: Positive = Field(
        4096, description="Memory for the frames of open episodes, in MiB."
    )
    max_trajectory_mib: Positive = Field(
        256, description="Largest trajectory, all its frames or its video together, in MiB."
    )
    max_trajectory_frames: Positive = Field(
        10_000, description="Most frames of a trajectory, whether or not they are scored."
    )
    max_trajectories: Positive = Field(8, description="Trajectories that are scored at once.")
    max_trajectory_queries: Positive = Field(
        16, description="Queries of one trajectory that are asked at once."
    )
    trajectory_timeout_seconds: float = Field(
        3600, gt=0, description="Longest that scoring a trajectory may take."
    )
    max_decode_seconds: float = Field(
        120, gt=0, description="Longest that decoding one video may work."
    )
    episode_idle_seconds: float = Field(
        3600, gt=0, description="An episode without a step for so long is forgotten."
    )
    request_timeout_seconds: float = Field(
        60, gt=0, description="Longest that a request without a deadline may take."
    )
    shutdown_grace_seconds: float = Field(
        20, ge=0, description="How long a stopping server finishes what it has."
    )

    # What is logged.
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log level."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log as text or JSON; auto asks whether a person is watching."
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        if self.http_port and self.http_port == self.grpc_port:
            raise ValueError(f"http_port and grpc_port are both {self.http_port}: choose two ports")
        return self

    @model_validator(mode="after")
    def _remote_is_named(self) -> Settings:
        if self.backend == "chat" and not self.remote_url:
            raise ValueError("backend is chat: set remote_url to the endpoint's base URL")
        if self.backend != "chat" and self.remote_url:
            raise ValueError(
                f"remote_url is set and backend is {self.backend}: set backend to chat"
            )
        if bool(self.planner_url) != bool(self.planner_model):
            raise ValueError("planner_url and planner_model go together: give both, or neither")
        return self

    @model_validator(mode="after")
    def _token_off_loopback(self) -> Settings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("give token or token_file, not both")
        if self.token is not None and not self.token.get_secret_value().strip():
            raise ValueError("token is empty: give one, or leave it out on loopback")
        if not is_loopback(self.host) and self.token is None and self.token_file is None:
            raise ValueError(
                f"host {self.host} is not loopback: set token or token_file (LRM_TOKEN), or "
                "listen on 127.0.0.1"
            )
        return self

    @property
    def head_names(self) -> tuple[str, ...]:
        """The heads or profiles that are chosen; () for all of the checkpoint's."""
        names = (name.strip() for name in (self.heads or "").split(","))
        return tuple(name for name in names if name)

    def secret(self) -> str | None:
        """The token in clear, or None when none is required.

        Raises:
            OSError: the token's file cannot be read.
            ValueError: the token's file is empty.
        """
        if self.token_file is not None:
            text = self.token_file.read_text("utf-8").strip()
            if not text:
                raise ValueError(f"token_file {self.token_file} is empty")
            return text
        return self.token.get_secret_value() if self.token is not None else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over variables, variables over the YAML file."""
        return (init_settings, env_settings, YamlConfigSettingsSource(settings_cls))


class WrongSettingsError(Exception):
    """Settings that are not accepted.

    Attributes:
        problems: one line for each, which begins with the setting's name.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def settings_from(flags: Mapping[str, object], file: Path | None = None) -> Settings:
    """Settings from the flags that were given, the environment and a YAML file.

    Raises:
        WrongSettingsError: naming each wrong setting, or what is wrong with the file.
    """
    kind = Settings if file is None else _with_file(file)
    try:
        return kind(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        raise WrongSettingsError([_problem(item) for item in error.errors()]) from error
    except SettingsError as error:
        raise WrongSettingsError([f"environment: {error}: {error.__cause__}"]) from error


def _with_file(file: Path) -> type[Settings]:
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise WrongSettingsError([f"config: {file} cannot be read: {error.strerror}"]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        cause = " ".join(str(error).split())
        raise WrongSettingsError([f"config: {file} is not YAML: {cause}"]) from error
    if not isinstance(content, dict | None):
        raise WrongSettingsError([f"config: {file} must hold settings, one `name: value` a line"])

    class FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=file, yaml_file_encoding="utf-8")

    return FromFile


def _problem(item: ErrorDetails) -> str:
    """One line about one setting; what was given is shown unless it may be the token."""
    message = item["msg"].removeprefix("Value error, ")
    path = ".".join(str(part) for part in item["loc"])
    if not path:
        return message
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no such setting"
    given = item["input"]
    secret = path.startswith(("token", "remote_key", "planner_key"))
    shown = isinstance(given, str | int | float) and not secret
    return f"{path}: {message}" + (f", not {given!r}" if shown else "")


def environment_without_settings() -> dict[str, str]:
    """This process's environment without ``LRM_...``, for a server that takes none of it."""
    return {
        name: value for name, value in os.environ.items() if not name.upper().startswith("LRM_")
    }


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
