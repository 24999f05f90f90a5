"""Which action FAR takes for each frame, from the files of TECO's two sets to the network.

DMLab: the label of a frame is the action taken after it, which is in the archive with the frames. Minecraft: it is the
action that led into the frame, in an archive beside the video.
"""

import numpy as np
import pytest

from arvdm_cli import media
from support.far import DMLAB, MINECRAFT, publish, spy_on_labels, write_dmlab

NULL, PROMPT = 4, 9  # the label of an unknown action, and frames of a prompt: 6 in memory, 3 in the context


@pytest.fixture
def labels(monkeypatch):
    """Labels that the network takes, by call: for frames of memory, of the context, and for the new frame."""
    return spy_on_labels(monkeypatch)


def by_frame(calls):
    """What the calls of each new frame say: the labels of the last of memory, the context's, and its own."""
    frames, memory, context = [], [], []
    for kind, label in calls:
        if kind == "memory":
            memory = (memory + label)[-6:]
        elif kind == "context":
            context = label
        else:
            frames.append((memory[-3:], context, label[0]))
    return frames


def generate(arvdm, model, prompt, out, *flags, **more):
    fast = ("--steps", 1, "--guidance", 1, "--seed", 0, "-o", out, "-y")
    done = arvdm("generate", "-m", model, "-p", prompt, *fast, *flags, **more)
    assert done.exit_code == 0, done.stderr
    return done


def test_a_prompt_of_dmlab_brings_the_actions_taken_after_its_frames(arvdm, labels, tmp_path):
    model = publish(tmp_path / "far", **DMLAB)
    (archive,) = write_dmlab(tmp_path / "dmlab", PROMPT)
    file = np.load(archive)["actions"].tolist()
    done = generate(arvdm, model, archive, tmp_path / "out.npy", "-a", "left right forward", "-n", 3)
    assert "9 frames of an archive" in done.stderr
    # the archive's last action leads out of it: what is done then is said by --actions
    assert by_frame(labels) == [
        (file[3:6], [*file[6:8], 0], 1),
        ([*file[4:6], file[6]], [file[7], 0, 1], 2),
        ([file[5], *file[6:8]], [0, 1, 2], NULL),
    ]


def test_live_a_label_is_null_while_its_frame_is_made_and_true_one_frame_later(arvdm, labels, tmp_path):
    model = publish(tmp_path / "far", **DMLAB)
    (archive,) = write_dmlab(tmp_path / "dmlab", PROMPT)
    file = np.load(archive)["actions"].tolist()
    keys = "".join(f'"{name}"\n' for name in ("left", "right", "forward"))
    generate(arvdm, model, archive, tmp_path / "out.npy", "-a", "-", "-n", 3, input=keys)
    made = by_frame(labels)
    assert [label for *_, label in made] == [NULL] * 3
    assert [context for _, context, _ in made] == [[*file[6:8], 0], [file[7], 0, 1], [0, 1, 2]]


def test_a_prompt_of_minecraft_brings_the_actions_that_led_into_its_frames(arvdm, labels, tmp_path):
    model = publish(tmp_path / "far", **MINECRAFT)
    file = np.array([0, 1, 2, 3, 1, 2, 3, 1, 2], np.int32)
    np.savez(tmp_path / "000001.npz", actions=file)
    with media.Writer(tmp_path / "000001.mp4", 64, 64, media.Encoding(fps=20)) as writer:
        writer.write(np.zeros((PROMPT, 64, 64, 3), np.uint8))
    generate(arvdm, model, tmp_path / "000001.mp4", tmp_path / "out.npy", "-a", "left right", "-n", 2)
    assert by_frame(labels) == [
        (file[3:6].tolist(), file[6:9].tolist(), 2),
        (file[4:7].tolist(), [*file[7:9].tolist(), 2], 3),
    ]


def test_part_of_a_prompt_keeps_its_own_actions(arvdm, labels, tmp_path):
    model = publish(tmp_path / "far", **DMLAB)
    (archive,) = write_dmlab(tmp_path / "dmlab", 2 * PROMPT)
    file = np.load(archive)["actions"].tolist()
    cut = ("--prompt-start", 2, "--prompt-count", 6)
    generate(arvdm, model, archive, tmp_path / "out.npy", *cut, "-a", "forward", "-n", 1)
    assert by_frame(labels) == [(file[2:5], [*file[5:7], 2], NULL)]


def test_an_archive_of_frames_alone_is_a_prompt_whose_actions_are_unknown(arvdm, labels, tmp_path):
    model = publish(tmp_path / "far", **DMLAB)
    np.savez(tmp_path / "own.npz", frames=np.zeros((5, 64, 64, 3), np.uint8))
    generate(arvdm, model, tmp_path / "own.npz", tmp_path / "out.npy", "-a", "forward", "-n", 1)
    assert by_frame(labels) == [([NULL] * 2, [NULL, NULL, 2], NULL)]


def test_an_archive_without_frames_is_no_prompt(arvdm, tmp_path):
    model = publish(tmp_path / "far", **DMLAB)
    np.savez(tmp_path / "walk.npz", actions=np.zeros(5, int))
    done = arvdm("generate", "-m", model, "-p", tmp_path / "walk.npz", "-o", tmp_path / "out.npy")
    assert done.exit_code == 3 and "has no array `video`" in done.stderr and "actions" in done.stderr
