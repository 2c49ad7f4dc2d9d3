"""Policies cloned from the planner: demonstrations, rollouts, and what filtering gains."""
