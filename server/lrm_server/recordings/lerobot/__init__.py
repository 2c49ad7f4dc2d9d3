"""LeRobot's data set layout: v3.0 and v2.x read, v3.0 written.

The library ``lerobot`` (0.4.4) requires torch < 2.11 and av < 16, and cannot be installed beside
the server's vLLM. The layout is Parquet, JSON and MP4, so pyarrow and PyAV, which the server has
anyway, do the work; ``tests/recordings`` holds a data set that lerobot wrote.
"""
