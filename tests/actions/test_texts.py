"""Prompts of text as they are written, and as actions."""

import pytest
import torch

from arvdm_cli.actions.texts import check_frames, parse, rows
from arvdm_cli.errors import UsageError


def test_a_prompt_begins_at_the_frame_before_its_colon_and_else_at_the_first():
    assert parse(["a street"]) == ((0, "a street"),)
    assert parse(["60:snow begins", " a street "]) == ((0, "a street"), (60, "snow begins"))
    assert parse(["a close-up: rain", "007: the end"]) == ((0, "a close-up: rain"), (7, "the end"))
    assert parse(["0:12:30 at the station"]) == ((0, "12:30 at the station"),)
    assert parse([]) == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "'' is empty"),
        (["  "], "is empty"),
        (["60: "], "is empty"),
        (["-3:snow"], "'-3', not at the number of a frame"),
        (["1.5:snow"], "'1.5', not at the number of a frame"),
        (["9" * 5000 + ":snow"], "not at the number of a frame"),
        (["a", "0:b"], "Two prompts begin at frame 0: 'a' and 'b'"),
    ],
    ids=str,
)
def test_what_is_not_a_prompt_is_refused_in_one_line(words, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse(words)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_every_frame_of_a_video_has_a_prompt_and_every_prompt_a_frame():
    check_frames(((0, "a"), (9, "b")), 10)
    check_frames(((0, "a"), (9, "b")), None)
    with pytest.raises(UsageError, match="begins at frame 9, but the video has 9 new frames"):
        check_frames(((0, "a"), (9, "b")), 9)
    with pytest.raises(UsageError, match="begins at frame 4, so none describes the frames before it"):
        check_frames(((4, "a"),), 9)


def test_a_row_chooses_the_last_prompt_that_has_begun():
    chosen = rows([0, 2, 2, 5])
    assert chosen(0, 7)[0].argmax(-1).tolist() == [0, 0, 2, 2, 2, 3, 3]
    assert torch.equal(chosen(3, 4), chosen(0, 7)[:, 3:]) and chosen(4, 0).shape == (1, 0, 4)
    assert chosen(0, 7).sum(-1).unique().tolist() == [1.0]
    assert rows([0, 5, 3])(0, 7)[0].argmax(-1).tolist() == [0, 0, 0, 2, 2, 2, 2]  # a later prompt takes the place
