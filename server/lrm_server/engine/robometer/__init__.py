"""Robometer (arXiv 2603.02115) on vLLM: a Qwen3-VL backbone with heads over single tokens.

``structure`` says what a Robometer is; ``plugin`` tells vLLM of it, ``model`` and
``pooler`` are the model; ``tensors`` and ``folder`` read a published checkpoint;
``prompts``, ``kept`` and ``reader`` ask it; ``start`` puts it together.
"""
