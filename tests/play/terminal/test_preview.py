"""A run of `arvdm generate` whose frames are drawn meanwhile."""

import pytest

from support.terminal import Terminal


def test_the_frames_of_a_run_are_drawn_and_the_terminal_is_given_back(tiny, tmp_path):
    target = tmp_path / "out.mp4"
    words = ("generate", "--model", tiny, "-n", 8, "--seed", 1, "-o", target, "--preview")
    with Terminal(*words, stderr=True) as terminal:
        code, _ = terminal.end()
        assert code == 0 and target.exists()
        assert b"frame 8 of 8" in terminal.seen and "▀".encode() in terminal.seen
        assert terminal.restored


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_preview_without_a_terminal_is_refused(arvdm, tiny, tmp_path, words):
    done = arvdm("generate", "--model", tiny, "-n", 4, "-o", tmp_path / "out.mp4", "--preview", *words)
    assert done.exit_code == 2 and "--preview" in done.stderr
    assert list(tmp_path.iterdir()) == []
