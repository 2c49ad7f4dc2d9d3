"""Frames from files, and results into files."""
