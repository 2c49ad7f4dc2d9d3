"""What makes a checkpoint a Robometer: its architecture's name, its heads, its tokens."""

from __future__ import annotations

from typing import Final

ARCHITECTURE: Final = "RFM"
"""As the published checkpoints' config.json names it."""

HEAD_OUTPUTS: Final = {"progress_head": 10, "success_head": 1, "preference_head": 1}
"""Head -> its outputs: progress has ten bins from 0 to 1, the others one number.

Stored as ``{head}.{0,1,4}.{weight,bias}``."""
FRAME_POOLING: Final = "frame_pool_attn"
"""In every checkpoint; pools the tokens of a frame only where there are no progress tokens."""

PROGRESS: Final = "<|prog_token|>"
"""Stands after each frame: the progress and success heads read the hidden state here."""
PREFERENCE: Final = "<|pref_token|>"
"""Stands at the end of a comparison: the preference head reads the hidden state here."""
ADDED_TOKENS: Final = (
    "<|split_token|>",
    "<|reward_token|>",
    PREFERENCE,
    "<|sim_token|>",
    PROGRESS,
)
"""In the order in which they were added: the order decides which row of the embedding is whose."""
