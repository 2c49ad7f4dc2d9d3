"""What a server answers with: checkpoints, the engines behind them, their heads, the proof."""

from lrm_server.checkpoint.opening import open_scorer
from lrm_server.checkpoint.plan import find_manifest

__all__ = ["find_manifest", "open_scorer"]
