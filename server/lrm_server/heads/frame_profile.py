"""The profile of heads that a model answers at every frame of a window.

Their answers are numbers of the model's own heads, not words: Robometer's (arXiv
2603.02115). Its tokens stand in the profile's prompt as the tokeniser writes them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lrm_server.heads.profile import AskingProfile, Readout
from lrm_server.heads.window import FIELD, Window

OTHER_FIELD = "other_window"
OTHER_WINDOW = f"<{OTHER_FIELD}>"
"""Where the second window of a comparison stands in a prompt."""
PREFERENCE_VALUES = {OTHER_FIELD: -1.0, FIELD: 1.0}
"""Label -> value of a comparison: the window that is asked about is the better, or the other."""


class FrameProfile(AskingProfile):
    """A head that reads a model's own heads at the frames of a window.

    ``<window>`` stands for the window's frames and ``<other_window>`` for those of a
    second one; ``<|name|>`` is a token of the model's own.

    Attributes:
        reads: which of the model's heads becomes the value: progress or success at
            the last frame, or the preference of the window over the other.
        after_frame: the token of the model's own that follows each frame.
    """

    reads: Literal["progress", "success", "preference"]
    window: Window
    after_frame: Annotated[str, Field(pattern=r"^<\|\w+\|>$")]
    default_readout: Literal[Readout.LIKELIHOOD] = Readout.LIKELIHOOD

    @model_validator(mode="after")
    def _compares_two(self) -> FrameProfile:
        compares = any(OTHER_WINDOW in part.text for part in self.prompt)
        if compares != self.needs_other:
            raise ValueError(
                f"profile {self.name}: {OTHER_WINDOW} stands in the prompt if and only if the "
                "preference is read"
            )
        window = self.window
        if window.media != "images" or window.views != 1 or window.order != "time":
            raise ValueError(
                f"profile {self.name}: frames are read one by one: media images, one view, in time"
            )
        return self

    @property
    def needs_other(self) -> bool:
        """Whether a query must bring a second window."""
        return self.reads == "preference"

    @property
    def values(self) -> dict[str, float]:
        """Label -> value of a comparison; {} where a number is read."""
        return dict(PREFERENCE_VALUES) if self.needs_other else {}
