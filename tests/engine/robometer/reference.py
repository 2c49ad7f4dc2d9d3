"""What plain transformers and torch say about the same trajectories and weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from tests.engine.robometer.checkpoint import BINS, Published

from transformers import AutoConfig, AutoProcessor, Qwen3VLModel  # isort: skip

TOKENS = (
    "<|split_token|>",
    "<|reward_token|>",
    "<|pref_token|>",
    "<|sim_token|>",
    "<|prog_token|>",
)
PROGRESS_TEXT = (
    "The task for the robot is '{task}'. Given the trajectory video, predict the task progress at "
    "each frame, how far along the robot is towards completing the task, a float between 0 and 1, "
    "where 0 is the starting state and 1 is when the task is completed. If the robot is not "
    "performing the same task, predict 0 progress."
)
PREFERENCE_TEXT = (
    "Given these two trajectories for the task '{task}', evaluate which one makes more progress "
    "towards the task. Return A for the first trajectory and B for the second trajectory. Also "
    "predict the task progress at each frame of the first trajectory, how far along the robot is "
    "towards completing the task, a float between 0 and 1, where 0 is the starting state and 1 is "
    "when the task is completed. If the robot is not performing the same task, predict 0 progress."
)


class Reference:
    """The backbone in transformers, the heads in torch; one trajectory at a time."""

    def __init__(self, published: Published, dtype: torch.dtype) -> None:
        self._processor = AutoProcessor.from_pretrained(published.base)
        for token in TOKENS:
            self._processor.tokenizer.add_special_tokens({"additional_special_tokens": [token]})
        config = AutoConfig.from_pretrained(published.checkpoint)
        state = load_file(published.checkpoint / "model.safetensors")
        self._backbone = Qwen3VLModel(config).to(dtype).eval()
        self._backbone.load_state_dict(
            {
                name.removeprefix("model."): tensor
                for name, tensor in state.items()
                if name.startswith("model.")
            }
        )
        hidden = config.text_config.hidden_size
        self._heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(hidden, hidden // 2),
                    nn.LayerNorm(hidden // 2),
                    nn.GELU(),
                    nn.Dropout(0.1),
                    nn.Linear(hidden // 2, outputs),
                )
                for name, outputs in (
                    ("progress_head", BINS),
                    ("success_head", 1),
                    ("preference_head", 1),
                )
            }
        )
        self._heads.load_state_dict(
            {name: tensor for name, tensor in state.items() if "_head." in name}
        )
        self._heads.to(dtype).eval()
        self._dtype = dtype

    def trajectory(
        self, task: str, frames: Sequence[np.ndarray]
    ) -> tuple[list[float], list[float]]:
        """Progress and success at each frame."""
        content = [{"type": "text", "text": PROGRESS_TEXT.format(task=task)}, *_shown(frames)]
        tokens, hidden = self._hidden(content, frames)
        read = hidden[tokens == self._id("<|prog_token|>")]
        return self._progress(read)

    @torch.no_grad()
    def preference(
        self, task: str, first: Sequence[np.ndarray], second: Sequence[np.ndarray]
    ) -> tuple[float, list[float]]:
        """Probability that the first is preferred, and progress at the frames of both."""
        content = [
            {"type": "text", "text": PREFERENCE_TEXT.format(task=task)},
            {"type": "text", "text": "This is Trajectory A. "},
            *_shown(first),
            {"type": "text", "text": "<|split_token|>"},
            {"type": "text", "text": "This is Trajectory B. "},
            *_shown(second),
            {"type": "text", "text": "Now predict the preference between the two trajectories."},
            {"type": "text", "text": "<|pref_token|>"},
        ]
        tokens, hidden = self._hidden(content, [*first, *second])
        (read,) = hidden[tokens == self._id("<|pref_token|>")]
        logit = self._heads["preference_head"](read).float()
        progress, _ = self._progress(hidden[tokens == self._id("<|prog_token|>")])
        return logit.sigmoid().item(), progress

    @torch.no_grad()
    def _hidden(self, content: list, frames: Sequence[np.ndarray]) -> tuple:
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=False,
            add_vision_id=True,
        )
        inputs = self._processor(
            text=[text], images=list(frames), do_resize=False, return_tensors="pt"
        )
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        output = self._backbone(**inputs)
        return inputs["input_ids"][0], output.last_hidden_state[0]

    @torch.no_grad()
    def _progress(self, read: torch.Tensor) -> tuple[list[float], list[float]]:
        bins = self._heads["progress_head"](read).float().softmax(dim=-1)
        success = self._heads["success_head"](read).float().sigmoid()
        return (bins @ torch.linspace(0, 1, BINS)).tolist(), success[:, 0].tolist()

    def _id(self, token: str) -> int:
        return int(self._processor.tokenizer.convert_tokens_to_ids(token))


def _shown(frames: Sequence[np.ndarray]) -> list[dict[str, str]]:
    return [
        part
        for _ in frames
        for part in ({"type": "image"}, {"type": "text", "text": "<|prog_token|>"})
    ]
