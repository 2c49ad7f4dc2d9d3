"""The command ``lrm``: also there, and helpful, where the client alone is installed."""

from __future__ import annotations

import sys

INSTALL = 'pip install "lrm[cpu]" for a machine without a GPU, or pip install "lrm[gpu]"'


def main() -> None:
    """Runs the command line, or says what to install for it."""
    try:
        from lrm_server.cli import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("lrm_server", "lrm_client"):
            raise
        sys.stderr.write(
            f"lrm: this is the client's install, which has no command line "
            f"({error.name} is missing).\nInstall the server's parts: {INSTALL}\n"
        )
        raise SystemExit(1) from None
    app()


if __name__ == "__main__":
    main()
