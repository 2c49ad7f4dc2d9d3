"""Messages of the wire."""

from __future__ import annotations

import grpc

from lrm_client.problems import PROBLEM_METADATA_KEY
from lrm_client.wire import reward_pb2 as pb
from tests.api.frames import png

TASK = "pick up the cube"
FRAME = pb.Frame(encoding=pb.ENCODING_PNG, data=png())


def problem_of(error: grpc.aio.AioRpcError) -> pb.Problem:
    (data,) = [value for key, value in error.trailing_metadata() if key == PROBLEM_METADATA_KEY]
    return pb.Problem.FromString(data)
