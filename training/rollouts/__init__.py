"""Labelled rollouts: attempts of a motion planner, good and bad, rendered at a few key frames."""
