"""Models behind an OpenAI-compatible chat endpoint, as an engine that the heads can ask."""
