"""The tokenizer compresses the prompts and changes nothing."""

from __future__ import annotations

import pytest

pytest.importorskip(
    "training.architecture",
    reason="needs PyTorch and transformers (extra `train`)",
    exc_type=ImportError,
)


from lrm_server.heads.profile import Role
from training import tokenizer as tokenization
from training.analysis import corpus
from training.prompts import PROFILES, answer, label_tokens, profile_of, prompt, written_labels
from training.tasks import TASKS


@pytest.fixture(scope="module")
def words():
    return tokenization.build()


def all_texts():
    for head in PROFILES:
        profile = profile_of(head)
        for roles in (
            profile.required_frames,
            (*profile.required_frames, *profile.optional_frames),
        ):
            for task in TASKS:
                for text in (task.text, f"{task.text}.", *task.paraphrases):
                    for label in written_labels(head):
                        yield prompt(head, text, frozenset(roles)).text + answer(head, label)
    yield from corpus(TASKS)
    yield "Open the drawer, then put 2 mugs (blue ones) inside: no spills!"
    yield "\tDéjà vu, 机器人 at 0.73\n\nyesterday  "


def test_decoding_gives_the_text_back(words):
    for text in all_texts():
        assert words.decode(words(text).input_ids) == text


@pytest.mark.parametrize("head", PROFILES)
def test_each_label_is_one_token_with_the_prefix_and_apart_from_it(words, head):
    prefix = words(profile_of(head).answer_prefix).input_ids
    for label, token in zip(written_labels(head), label_tokens(words)[head], strict=True):
        together = words(answer(head, label)).input_ids
        assert together[: len(prefix)] == prefix
        assert together[len(prefix)] == token
        assert words.decode([token]) == label
        # What was written before must not change how the answer is cut.
        assert (
            words(f"Image A is closer.\n{answer(head, label)}").input_ids[-len(together) :]
            == together
        )


def test_stages_match_whole_numbers_only(words):
    stage = label_tokens(words)["progress"][7]
    assert stage in words("it is 0.7 so far").input_ids
    assert stage not in words("10.75").input_ids


def test_prompts_are_short(words):
    for head in PROFILES:
        asked = prompt(head, TASKS[0].text, frozenset(profile_of(head).required_frames))
        assert len(words(asked.text).input_ids) < 40


@pytest.mark.parametrize("head", PROFILES)
def test_the_chat_template_is_what_the_prompt_is_written_as(words, head):
    roles = frozenset(profile_of(head).required_frames)
    from lrm_server.heads.prompt import render_turn

    turn = render_turn(profile_of(head), "Do it", roles)
    content = [
        {"type": "image"} if isinstance(part, Role) else {"type": "text", "text": part}
        for part in turn.parts
    ]
    rendered = words.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    assert rendered == prompt(head, "Do it", roles).text


def test_the_vocabulary_is_padded(words):
    size = tokenization.vocabulary_size(words)
    assert size >= len(words)
    assert size % tokenization.VOCABULARY_MULTIPLE == 0


def test_building_twice_gives_the_same(words):
    assert tokenization.build().get_vocab() == words.get_vocab()
