"""An audit as one page of HTML that needs nothing beside itself."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from lrm_client import __version__
from lrm_server.audit.audit import Audit
from lrm_server.audit.plots import pictures
from lrm_server.audit.texts import figure_text, notes, number_text, scope_text, threshold_text


def render_page(audit: Audit) -> str:
    """The page's text; whatever came from the data set or the model is escaped."""
    environment = Environment(
        loader=PackageLoader("lrm_server.audit"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(
        figure=figure_text, threshold=threshold_text, number=number_text, css=_css_name
    )
    return environment.get_template("audit.html.j2").render(
        audit=audit,
        decision=audit.decision,
        scope=scope_text(audit),
        notes=notes(audit),
        pictures=pictures(audit),
        version=__version__,
    )


def write_page(audit: Audit, path: Path) -> None:
    """Writes the page.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(render_page(audit), "utf-8")


def _css_name(value: str) -> str:
    return value.replace(" ", "-")
