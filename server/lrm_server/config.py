"""Settings of the server: flags, then ``LRM_...`` variables, then a YAML file, then defaults."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from lrm_server.engine_settings import EngineSettings, Positive

Port = Annotated[int, Field(ge=0, le=65535)]
ENDPOINT_KEYS = {"remote_url": "remote_key", "planner_url": "planner_key"}
"""Setting of an endpoint's address -> that of its key."""


def _in_words(given: object) -> object:
    """YAML takes a bare yes or no for a truth value."""
    return ("no", "yes")[given] if isinstance(given, bool) else given


class Settings(EngineSettings, BaseSettings):
    """All settings; every field but ``engines`` is a flag, and all are variables and YAML keys."""

    model_config = SettingsConfigDict(
        env_prefix="LRM_", extra="forbid", frozen=True, env_nested_delimiter="__"
    )

    engines: dict[str, EngineSettings] = Field(
        default_factory=dict,
        description="Several engines in one server, as name -> settings of that engine. What an "
        "engine does not say of itself is taken from the settings above.",
    )

    # The network.
    host: str = Field("127.0.0.1", description="Address to listen on; off loopback needs a token.")
    http_port: Port = Field(8080, description="Port of HTTP; 0 picks a free one.")
    grpc_port: Port = Field(50051, description="Port of gRPC; 0 picks a free one.")
    token: SecretStr | None = Field(None, description="Bearer token that requests must carry.")
    token_file: Path | None = Field(None, description="File that holds the token.")
    shared_memory: Annotated[Literal["auto", "yes", "no"], BeforeValidator(_in_words)] = Field(
        "auto",
        description="Whether clients of this user may hand frames over in shared memory; auto does "
        "on loopback.",
    )

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
    max_runs: Positive = Field(
        1024, description="Runs with a budget of queries that may be open at once."
    )
    run_idle_seconds: float = Field(
        7 * 24 * 3600, gt=0, description="A run that nobody names for so long is forgotten."
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
    def _engines_have_names_of_variables(self) -> Settings:
        for name in self.engines:
            # Variables come in small letters, and two underscores part their names.
            if not re.fullmatch(r"[a-z0-9]+([-_][a-z0-9]+)*", name):
                raise ValueError(
                    f"engines: {name!r} is no name for an engine: take small letters and digits, "
                    "with single - or _ between"
                )
        return self

    @model_validator(mode="after")
    def _endpoints_are_named(self) -> Settings:
        for name, each in self.each_engine().items():
            if problem := each.endpoint_problem():
                raise ValueError(f"engines.{name}: {problem}" if name else problem)
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

    def each_engine(self) -> dict[str, Settings]:
        """The settings of each engine by its name; the only one has the name "".

        What an engine does not say is taken from outside, but for the key of an endpoint
        that it names itself: a secret goes to nobody whom it was not given for.
        """
        return {
            name: self.model_copy(
                update={
                    "engines": {},
                    **{
                        key: None
                        for url, key in ENDPOINT_KEYS.items()
                        if url in engine.model_fields_set
                    },
                    **{said: getattr(engine, said) for said in engine.model_fields_set},
                }
            )
            for name, engine in self.engines.items()
        } or {"": self}

    @property
    def reads_shared_memory(self) -> bool:
        """Whether frames may lie in memory of a client on this machine."""
        if self.shared_memory == "auto":
            return sys.platform == "linux" and is_loopback(self.host)
        return self.shared_memory == "yes"

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
    secret = not {"token", "remote_key", "planner_key"}.isdisjoint(path.split("."))
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
