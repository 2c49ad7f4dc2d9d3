"""Metrics are read from a whole server, as Prometheus does."""

from tests.api.conftest import _no_proxy, _plain_log, scorer, serve, served

__all__ = ["_no_proxy", "_plain_log", "scorer", "serve", "served"]
