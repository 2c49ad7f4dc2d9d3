"""How the embedded checkpoint is made.

Rollouts from a simulator, a small Qwen3-VL, its training and its evaluation.
"""

from lrm_server.engine.broken_extensions import install

# Beside the server's CPU build of torch, transformers does not import without it.
install()
