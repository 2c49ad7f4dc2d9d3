"""Reward heads and their profiles: what is asked and how an answer becomes a value."""
