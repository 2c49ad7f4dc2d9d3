"""Trajectories: the frames of one attempt, scored in the order of time."""
