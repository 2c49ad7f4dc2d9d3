"""CLIP in this process, as an embedder that the heads can ask."""
