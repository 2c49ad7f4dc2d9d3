"""Recorded episodes: camera frames with their task and labels, read and written in two layouts."""
