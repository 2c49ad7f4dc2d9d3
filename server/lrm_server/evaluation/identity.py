"""Who answers: the checkpoint's fingerprint and the profiles of its heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrm_client import Readout, RewardClient


class NotJudgeableError(ValueError):
    """A server whose model cannot be judged; says what is missing."""


@dataclass(frozen=True, slots=True)
class HeadIdentity:
    """A head as it is served.

    Attributes:
        profile: its name.
        digest: of the profile's content.
        readout: the checkpoint's default.
        roles: the frames that it looks at, needed or not.
    """

    profile: str = ""
    digest: str = ""
    readout: Readout | None = None
    roles: frozenset[str] = frozenset({"initial", "previous", "current"})


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What decides on a model's answers, beside what it is asked.

    Attributes:
        id: as the manifest names it.
        fingerprint: of the weights and their adapters.
        heads: by name.
        description: what it was trained on.
        version: of the server.
        max_batch: most queries in one request; 0 where the server does not say.
    """

    id: str
    fingerprint: str
    heads: Mapping[str, HeadIdentity] = field(default_factory=dict)
    description: str = ""
    version: str = ""
    max_batch: int = 0


def identify(client: RewardClient) -> ModelIdentity:
    """The model that a server serves; several models are judged as one, which has all heads.

    Raises:
        LrmError: the server does not answer.
        NotJudgeableError: it serves no model.
    """
    served = client.models()
    if not served.models:
        raise NotJudgeableError("the server serves no model: give it a checkpoint")
    models = served.models
    heads = {
        name: HeadIdentity(
            head.profile,
            head.profile_digest,
            head.default_readout,
            frozenset((*head.required_frames, *head.optional_frames)),
        )
        for model in models
        for name, head in model.heads.items()
    }
    known = all(model.fingerprint for model in models)
    return ModelIdentity(
        "+".join(model.id for model in models),
        "+".join(dict.fromkeys(model.fingerprint for model in models)) if known else "",
        heads,
        "\n".join(dict.fromkeys(model.description for model in models)),
        served.version,
        served.limits.max_batch,
    )
