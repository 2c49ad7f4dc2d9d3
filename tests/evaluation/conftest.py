"""A scripted reward server for the command."""

from tests.cli.conftest import _no_settings, core, server

__all__ = ["_no_settings", "core", "server"]
