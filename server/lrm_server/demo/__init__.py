"""The demo: bundled rollouts of a simulated robot, scored by the embedded checkpoint."""
