"""Samples: balanced, and true to the labels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip(
    "training.architecture",
    reason="needs PyTorch and transformers (extra `train`)",
    exc_type=ImportError,
)


from training import tokenizer as tokenization
from training.analysis import Fact
from training.augment import augment
from training.dataset import Episode
from training.prompts import label_tokens, written_labels
from training.rollouts.features import COLUMNS
from training.samples import IMAGE_TOKENS, Sampler, progress_target
from training.tasks import TASKS


def episode(number, success):
    count = 12
    progress = (
        np.linspace(0, 1, count)
        if success
        else np.concatenate([np.linspace(0, 0.8, 8), [0.6, 0.4, 0.3, 0.3]])
    )
    done = progress == 1.0
    return Episode(
        task=TASKS[number % len(TASKS)],
        seed=number,
        kind="expert" if success else "dropped",
        steps=np.arange(count, dtype=np.int32) * 5,
        length=55,
        frames=np.zeros((count, 128, 128, 3), dtype=np.uint8),
        progress=progress,
        done=done,
        facts=tuple(Fact.DONE if flag else Fact.NEAR for flag in done),
        state=np.zeros((count, len(COLUMNS)), dtype=np.float32),
    )


@pytest.fixture(scope="module")
def words():
    return tokenization.build()


@pytest.fixture(scope="module")
def batch(words):
    episodes = [episode(number, number % 2 == 0) for number in range(10)]
    return Sampler(episodes, words, np.random.default_rng(0)).batch(200)


def test_both_orders_of_a_pair_are_equally_often_right(batch):
    answers = [int(s.target.argmax()) for s in batch.samples if s.head == "contrastive"]
    assert len(answers) > 300
    assert abs(np.mean(answers) - 0.5) < 0.07


def test_answers_agree_with_the_progress_of_their_frames(batch):
    progress = np.concatenate(batch.progress)
    for sample in batch.samples:
        if sample.head == "contrastive":
            previous, current = progress[sample.images]
            assert (current > previous) == bool(sample.target.argmax())
            assert abs(current - previous) >= 0.07


def test_completion_has_yes_and_no(batch):
    answers = [int(s.target.argmax()) for s in batch.samples if s.head == "completion"]
    assert 0.15 < np.mean(answers) < 0.5


def test_the_label_stands_where_it_is_said_to(batch, words):
    tokens = label_tokens(words)
    for sample in batch.samples:
        assert sample.tokens[sample.label_at] in tokens[sample.head]
        assert sample.tokens[sample.label_at] == tokens[sample.head][int(sample.target.argmax())]


def test_every_image_has_its_tokens(batch, words):
    image = words.convert_tokens_to_ids("<|image_pad|>")
    for sample in batch.samples:
        assert sample.tokens.count(image) == IMAGE_TOKENS * len(sample.images)


def test_some_comparisons_reason_and_none_of_the_others_is_taught_not_to(batch, words):
    compared = [s for s in batch.samples if s.head == "contrastive"]
    reasoned = [s for s in compared if "In Image A" in words.decode(s.tokens)]
    assert 0.2 < len(reasoned) / len(compared) < 0.4
    for sample in compared:
        if sample not in reasoned:
            assert all(at > sample.label_at for at, _ in sample.plain)


def test_only_what_is_done_is_finished():
    values = written_labels("progress")
    assert values[int(progress_target(1.0, done=True).argmax())] == "1.0"
    assert progress_target(0.99, done=False)[values.index("1.0")] == 0.0
    assert values[int(progress_target(0.42, done=False).argmax())] == "0.4"
    assert progress_target(0.42, done=False).sum() == pytest.approx(1.0)


def test_augmenting_keeps_shape_and_treats_an_episode_alike():
    frames = (
        np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8).repeat(3, axis=0)
    )
    made = augment(frames, np.random.default_rng(1))
    assert made.shape == frames.shape
    assert made.dtype == np.uint8
    assert (made[0] == made[1]).all()
