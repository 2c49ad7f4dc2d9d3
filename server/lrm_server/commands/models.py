"""``lrm models``: what a server serves, as a table."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrm_client import HeadInfo, ServedModels


def show_models(served: ServedModels, console: Console) -> None:
    """Prints each model with its heads, then the server's limits."""
    for model in served.models:
        table = Table(title=f"{model.id} (fingerprint {model.fingerprint})", title_justify="left")
        for column in ("head", "frames", "labels", "neutral", "readout", "adapter", "profile"):
            table.add_column(column, overflow="fold")
        for head in model.heads.values():
            table.add_row(*(escape(cell) for cell in _cells(head)))
        console.print(table)
        if model.description:
            console.print(model.description, markup=False, highlight=False)
    limits = served.limits
    console.print(
        f"server {served.version}; a request: at most {limits.max_message_bytes} bytes and "
        f"{limits.max_batch} queries; a frame: at most {limits.max_frame_bytes} bytes and "
        f"{limits.max_frame_pixels} pixels",
        highlight=False,
    )


def _cells(head: HeadInfo) -> tuple[str, ...]:
    frames = [*head.required_frames, *(f"[{role}]" for role in head.optional_frames)]
    if head.window is not None:
        most = f"{head.window.min_frames} to {head.window.max_frames}"
        views = f" of {head.window.views} views" if head.window.views > 1 else ""
        frames.append(f"window ({head.window.media}, {most} frames{views})")
    labels = [f"{label} = {value:g}" for label, value in head.labels.items()]
    return (
        head.name,
        " ".join(frames),
        ", ".join(labels),
        f"{head.neutral:.3g}",
        head.default_readout.value if head.default_readout else "",
        head.adapter,
        f"{head.profile} {head.profile_digest}",
    )
