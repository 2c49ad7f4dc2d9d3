"""The checkpoint's tokenizer.

Byte-level BPE as Qwen's, a small vocabulary, and the prompts' constant texts as tokens.

The text that reaches the model is the published prompt, unchanged; a long constant sentence is
merely one token, and so is each label, so that an answer is read at one position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import Qwen2Tokenizer

from training.analysis import corpus
from training.prompts import PROFILES, constant_texts, profile_of, prompt, written_labels
from training.tasks import TASKS, WRAPPINGS, wrap

if TYPE_CHECKING:
    from pathlib import Path

# Qwen's special tokens, by name; their numbers are this checkpoint's own.
SPECIAL: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Qwen's pre-tokenisation.
PATTERN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BPE_SIZE: Final = 800
# The vocabulary is padded to a multiple of this, as engines like it.
VOCABULARY_MULTIPLE: Final = 64
MAX_LENGTH: Final = 4096

# Qwen's ChatML template as far as reward prompts go: text and images, a system turn if there is
# one.
CHAT_TEMPLATE: Final = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'image' or 'image' in item or 'image_url' in item -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif item['type'] == 'video' or 'video' in item -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in item -%}
{{ item['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""


def _texts() -> list[str]:
    """What the BPE merges are learnt from."""
    words = [text for task in TASKS for text in (task.text, *task.paraphrases)]
    prompts = [
        prompt(head, text, frozenset(profile_of(head).required_frames)).text
        for head in PROFILES
        for text in words
    ]
    wrapped = [wrap(task.text, wrapping) for wrapping in WRAPPINGS for task in TASKS]
    return [*prompts, *(f" {text}." for text in (*words, *wrapped)), *corpus(TASKS)]


def build() -> Qwen2Tokenizer:
    """Trains the tokenizer; the same sources give the same one."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BPE_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_texts(), trainer)
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in SPECIAL]
    )
    # Longest match at the leftmost place wins, so a constant that begins like another does not
    # shadow it.
    backend.add_tokens([AddedToken(text, normalized=False) for text in constant_texts()])
    # Labels match as whole words only: "no" must not break "now" apart.
    labels = dict.fromkeys(label for head in PROFILES for label in written_labels(head))
    backend.add_tokens([AddedToken(label, normalized=False, single_word=True) for label in labels])
    return Qwen2Tokenizer(
        tokenizer_object=backend,
        eos_token="<|im_end|>",  # noqa: S106 (a token of text, no secret)
        pad_token="<|endoftext|>",  # noqa: S106
        unk_token=None,
        additional_special_tokens=list(SPECIAL),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def vocabulary_size(tokenizer: Qwen2Tokenizer) -> int:
    """The embedding's rows: the tokens, padded."""
    return -(-len(tokenizer) // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE


def save(tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Writes the tokenizer's files into a checkpoint folder."""
    tokenizer.save_pretrained(folder)
