"""A frame that only decoding tells to be broken."""

from __future__ import annotations

import numpy as np
import simplejpeg

from lrm_server.frames import Encoding, Frame, FrameLimits, open_frame


def cut_jpeg() -> Frame:
    """A JPEG whose header is whole and whose picture is not."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = simplejpeg.encode_jpeg(noise, colorspace="RGB")
    return open_frame(data[: len(data) // 2], Encoding.JPEG, FrameLimits())
