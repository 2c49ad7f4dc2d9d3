"""The engine: vLLM, prompts to tokens, frames to patches, label readout, adapters."""
