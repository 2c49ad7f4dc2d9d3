"""Flags that are made from the settings, so that each setting is written down once."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from rich.markup import escape

from lrm_server.config import Settings

PANELS: Final[Mapping[str, str]] = {
    "model": "Checkpoint",
    "dtype": "Engine",
    "host": "Network",
    "max_message_mib": "Limits",
    "log_level": "Logs",
}
"""Headings of the help, each at the setting that begins its group."""

_METAVARS: Final[Mapping[object, str]] = {
    int: "N",
    float: "X",
    str: "TEXT",
    Path: "PATH",
    SecretStr: "TEXT",
}

_FLAGS: Final[Mapping[str, FieldInfo]] = {
    # Settings within settings are for the file.
    name: field
    for name, field in Settings.model_fields.items()
    if name != "engines"
}


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command a flag for every setting but ``engines``.

    The command's keyword ``flags`` becomes the settings whose flags were given, as
    ``Settings`` takes them. Values are strings: the settings alone say what is right.
    """

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        flags = {name: values.pop(name) for name in _FLAGS}
        command(flags=_given(flags), **values)

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "flags"]
    parameters = [*own, *_parameters()]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _parameters() -> list[inspect.Parameter]:
    panel = ""
    parameters = []
    for name, field in _FLAGS.items():
        panel = PANELS.get(name, panel)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_annotation(name, field, panel),
            )
        )
    return parameters


def _annotation(name: str, field: FieldInfo, panel: str) -> Any:
    flag = f"--{name.replace('_', '-')}"
    kind = _plain_type(field)
    text = escape(field.description or "")
    if field.default not in (None, False) and not field.default_factory:
        text = f"{text} [dim]\\[default: {field.default}][/dim]"
    if kind is bool:
        return Annotated[bool | None, typer.Option(flag, help=text, rich_help_panel=panel)]
    if get_origin(kind) is dict:
        option = typer.Option(
            flag.removesuffix("s"), help=text, rich_help_panel=panel, metavar="NAME=PATH"
        )
        return Annotated[list[str] | None, option]
    if get_origin(kind) is Literal:
        text = f"{text} [dim]({', '.join(get_args(kind))})[/dim]"
    option = typer.Option(
        flag, help=text, rich_help_panel=panel, metavar=_METAVARS.get(kind, "CHOICE")
    )
    return Annotated[str | None, option]


def _plain_type(field: FieldInfo) -> Any:
    """The type of a setting that was given: without None, without its bounds."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = [option for option in get_args(kind) if option is not type(None)]
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _given(flags: Mapping[str, Any]) -> dict[str, object]:
    given: dict[str, object] = {
        name: value for name, value in flags.items() if value is not None and value != []
    }
    if adapters := flags.get("adapters"):
        given["adapters"] = _adapters(adapters)
    return given


def _adapters(pairs: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not name or not path:
            raise typer.BadParameter(f"{pair} must be NAME=PATH", param_hint="--adapter")
        named[name] = path
    return named
