"""The heads that are served, and what is said about the checkpoints behind them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lrm_server.errors import DomainError, ErrorCode
from lrm_server.heads.library import Profile
from lrm_server.heads.profile import AskingProfile, CompositeProfile, Readout, Role
from lrm_server.heads.subtask_profile import SubtaskProfile
from lrm_server.heads.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedHead:
    """A head as a checkpoint serves it.

    Attributes:
        name: the name by which it is asked.
        profile: what is asked and how an answer becomes a value.
        readout: the default of the checkpoint; of a composite head, how its
            parts are read is theirs.
        adapter: LoRA adapter that answers; None for the base weights.
        neutral: the head's value before its first query in an episode.
        required_frames: roles that a query must bring.
        optional_frames: roles that a query may bring.
        labels: label -> value; empty for composite heads.
    """

    name: str
    profile: Profile
    readout: Readout
    adapter: str | None = None
    neutral: float = 0.0
    required_frames: tuple[Role, ...] = ()
    optional_frames: tuple[Role, ...] = ()
    labels: Mapping[str, float] = field(default_factory=dict)

    @property
    def window(self) -> Window | None:
        """How it looks at a window of frames; None for a head of single frames."""
        return self.profile.window if isinstance(self.profile, AskingProfile) else None

    @property
    def parts(self) -> tuple[str, ...]:
        """The heads that a head asks beside, or instead of, itself; empty for most."""
        if isinstance(self.profile, CompositeProfile):
            return tuple(part.head for part in self.profile.components)
        if isinstance(self.profile, SubtaskProfile):
            return (self.profile.current,)
        return ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What callers are told about the checkpoint.

    Attributes:
        id: its name in /v1/models.
        description: on what it was trained and how well it does.
        fingerprint: identifies weights, adapters and preparation of frames.
    """

    id: str
    description: str
    fingerprint: str


class HeadCatalogue(Mapping[str, ServedHead]):
    """Heads by name; asking for one that is not served is an UNKNOWN_HEAD error.

    Attributes:
        model: the checkpoint; the first one where there are several.
        models: each checkpoint's own catalogue; this one alone where there is one checkpoint.
    """

    def __init__(self, heads: Iterable[ServedHead], model: ModelCard) -> None:
        self._heads = {head.name: head for head in heads}
        self.model = model
        self.models: tuple[HeadCatalogue, ...] = (self,)

    @classmethod
    def of_models(cls, models: Sequence[HeadCatalogue]) -> HeadCatalogue:
        """The heads of several checkpoints, at least one; their names are distinct."""
        joined = cls([head for each in models for head in each.values()], models[0].model)
        joined.models = tuple(models)
        return joined

    def model_of(self, head: str | None) -> ModelCard:
        """The checkpoint that a served head belongs to; the first where it is none's."""
        return next((each.model for each in self.models if head in each), self.model)

    def __getitem__(self, name: str) -> ServedHead:
        try:
            return self._heads[name]
        except KeyError:
            served = ", ".join(self._heads)
            raise DomainError(
                ErrorCode.UNKNOWN_HEAD,
                f"head {name!r} is not served here: choose one of {served}.",
                field="head",
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._heads

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)
