"""Prompts and labels under a tokeniser that splits as Qwen's does: digits apart, spaces joined."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lrm_server.engine.checkpoint_files import locate
from lrm_server.engine.prompt_tokens import ForcedAnswer, PromptTokens
from lrm_server.engine.protocol import AnswerForm, FrameSlot
from lrm_server.heads.library import load_profile
from lrm_server.heads.profile import LabelProfile, Role
from lrm_server.heads.prompt import render_turn
from tests.heads.scripted_engine import grey

# How Qwen2's tokeniser cuts text before it merges: every digit is alone.
CUTS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|image_pad|>", "<|video_pad|>"]
TASKS = ["Push the cube.", "Déplacer le cube à 3.5 cm", "큐브를 밀어라", "e\u0301tape 0.7 { }"]


@pytest.fixture(scope="module")
def prompts() -> PromptTokens:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CUTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = [part.text for name in NAMES for part in profile(name).prompt]
    texts += ['{ "more_complete_image": "ImageA" }', '{ "task_completed": "yes" } "no" }'] * 20
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts * 5, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",  # noqa: S106 - a token of text
        additional_special_tokens=SPECIAL,
    )
    template = Path(locate("embedded")) / "chat_template.jinja"
    fast.chat_template = template.read_text("utf-8")
    return PromptTokens(fast)


NAMES = ("lrm_contrastive", "lrm_progress", "lrm_completion")


def profile(name: str) -> LabelProfile:
    loaded = load_profile(name)
    assert isinstance(loaded, LabelProfile)
    return loaded


def forced(prompts: PromptTokens, name: str, task: str) -> tuple[ForcedAnswer, LabelProfile]:
    head = profile(name)
    turn = render_turn(head, task, head.required_frames)
    parts = [FrameSlot(grey()) if isinstance(part, Role) else part for part in turn.parts]
    labels = tuple(label.written for label in head.labels)
    form = AnswerForm(head.answer_prefix, labels, head.terminator, head.max_answer_tokens)
    return prompts.forced(parts, form), head


def spelled(prompts: PromptTokens, tokens: tuple[int, ...]) -> str:
    return str(prompts._tokenizer.decode(list(tokens)))


@pytest.mark.parametrize("task", TASKS)
def test_stages_are_read_at_their_first_digit_and_after_the_point(
    prompts: PromptTokens, task: str
) -> None:
    answer, head = forced(prompts, "lrm_progress", task)
    root, after = answer.trie.nodes
    assert {spelled(prompts, (token,)) for token in root.children} == {"0", "1"}
    assert spelled(prompts, after.before) == "0."
    assert {spelled(prompts, (t,)) for t in after.children} == set("0123456789")
    assert spelled(prompts, answer.prompt.tokens).endswith(head.answer_prefix)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_the_prompt_ends_before_the_label_and_has_a_place_for_each_frame(
    prompts: PromptTokens, name: str, task: str
) -> None:
    answer, head = forced(prompts, name, task)
    text = spelled(prompts, answer.prompt.tokens)
    # A quote may merge into a label; then the prompt ends before the quote.
    assert (text + '"').count(head.answer_prefix.rstrip('"')) >= 1
    assert len(answer.prompt.media) == len(head.required_frames)
    assert len(answer.trie.terms) == len(head.labels)
    assert len(set(answer.trie.terms)) == len(head.labels)


@pytest.mark.parametrize("name", NAMES)
def test_labels_spell_what_the_model_would_write(prompts: PromptTokens, name: str) -> None:
    answer, head = forced(prompts, name, TASKS[0])
    text = spelled(prompts, answer.prompt.tokens)
    for label, terms in zip(head.labels, answer.trie.terms, strict=True):
        node, token = terms[-1]
        written = spelled(prompts, (*answer.trie.nodes[node].before, token))
        whole = head.answer_prefix + label.written + head.terminator
        assert whole.startswith((text + written)[text.rindex(head.answer_prefix[:4]) :])
