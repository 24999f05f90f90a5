"""Uploads, with the Hub's own client and a Hub on this machine, and what a download then brings."""

import json
import shutil
from pathlib import Path

import pytest

from arvdm_cli.hub.card import MARK, ModelCard, write_readme
from support.checkpoints import save_small
from support.hub import fails
from support.loopback_hub import PUT

TOKEN = {"ARVDM_HUB_TOKEN": "hf_mine"}


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A run's folder: state and metrics, and a checkpoint with its card and a picture."""
    run = tmp_path_factory.mktemp("runs") / "play"
    save_small(run / "checkpoint")
    (run / "state.pt").write_bytes(b"state")
    (run / "metrics.jsonl").write_text("{}\n")
    (run / "sheet-000002.png").write_bytes(b"sheet")
    (run / "checkpoint" / "sample.png").write_bytes(b"\x89PNG picture")
    (run / "checkpoint" / "notes.txt").write_text("mine")
    write_readme(run / "checkpoint", ModelCard("play", "MIT", {"data": "clips"}, limits=["It is small."]))
    return run


def test_a_run_that_was_uploaded_is_downloaded_to_the_bit(hub, run, trained_run):
    sent = run("upload", trained_run, "mine/play", "--json", **TOKEN)
    assert sent.returncode == 0, sent.stderr
    facts = json.loads(sent.stdout)
    names = {"config.json", "model.safetensors", "sha256.json", "README.md", "sample.png"}
    assert {file["name"] for file in facts["files"]} == names
    assert set(hub.repos["mine/play", facts["commit"]]) == names
    assert hub.commits == [("mine/play", "main", "Upload play with arvdm")]
    fetched = run("download", "mine/play")
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(fetched.stdout.strip())
    assert {path.name for path in folder.iterdir()} == names
    for name in names:
        assert (folder / name).read_bytes() == (trained_run / "checkpoint" / name).read_bytes()


def test_a_repository_may_be_private_and_a_branch_and_a_message_chosen(hub, run, trained_run):
    chosen = ("--private", "--revision", "next", "-m", "Second try")
    assert run("upload", trained_run, "mine/play", *chosen, **TOKEN).returncode == 0
    assert hub.visibility["mine/play"] == "private"
    assert hub.commits == [("mine/play", "next", "Second try")]
    assert hub.repos["mine/play", hub.revisions["mine/play"]["main"]] == {}
    assert run("download", "mine/play@next").returncode == 0


def test_what_is_there_already_is_not_uploaded_again(hub, run, trained_run):
    for _ in range(2):
        assert run("upload", trained_run, "mine/play", **TOKEN).returncode == 0
    assert len([path for method, path, _ in hub.seen if path.startswith(PUT)]) == 2  # weights and picture, once


def test_the_token_goes_to_the_hub_alone(hub, run, trained_run):
    assert run("upload", trained_run, "mine/play", **TOKEN).returncode == 0
    for method, path, token in hub.seen:
        assert token == (None if path.startswith(PUT) else "Bearer hf_mine"), (method, path)


def test_a_dry_run_uploads_nothing_and_needs_no_login(hub, run, trained_run):
    shown = run("upload", trained_run, "mine/play", "--dry-run")
    assert shown.returncode == 0 and "model.safetensors" in shown.stdout and "state.pt" not in shown.stdout
    assert hub.seen == []


def test_without_a_login_nothing_is_asked(hub, run, trained_run):
    refused = run("upload", trained_run, "mine/play")
    assert fails_after_note(refused, 5) and "No token is set" in refused.stderr and "ARVDM_HUB_TOKEN" in refused.stderr
    assert hub.seen == []


@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        ("/api/repos/create", 401, "does not accept the token"),
        ("/api/repos/create", 403, "does not let you write to mine/play"),
        ("/commit/", 403, "does not let you write to mine/play"),
        ("/preupload/", 500, "HTTP 500"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_try(hub, run, trained_run, where, status, says):
    hub.status[where] = (status, None)
    refused = run("upload", trained_run, "mine/play", "--timeout", "1", **TOKEN)
    assert fails_after_note(refused, 5) and says in refused.stderr and hub.url in refused.stderr
    assert hub.commits == []


@pytest.mark.parametrize("offline", [("--offline",), ()])
def test_offline_nothing_is_uploaded(hub, run, trained_run, offline):
    refused = run("upload", trained_run, "mine/play", *offline, **TOKEN, **({} if offline else {"ARVDM_OFFLINE": "1"}))
    assert fails_after_note(refused, 5) and "offline" in refused.stderr
    assert hub.seen == []


@pytest.mark.parametrize("repo", ["play", "mine/../play", "mine/play/more", "mine/pl ay"])
def test_a_name_that_is_not_owner_and_name_is_a_usage_error(run, trained_run, repo):
    assert fails(run("upload", trained_run, repo, **TOKEN), 2)


def test_what_has_changed_since_it_was_saved_is_not_uploaded(hub, run, trained_run, tmp_path):
    copy = shutil.copytree(trained_run, tmp_path / "run")
    with (copy / "checkpoint" / "model.safetensors").open("ab") as file:
        file.write(b"more")
    assert fails(run("upload", copy, "mine/play", **TOKEN), 6)
    (copy / "checkpoint" / "sha256.json").unlink()
    assert fails(run("upload", copy, "mine/play", **TOKEN), 3)
    assert hub.seen == []


def fails_after_note(result, code):
    """As `fails`, after the note of what is uploaded."""
    result.stderr = "\n".join(line for line in result.stderr.splitlines() if not line.startswith("uploading "))
    return fails(result, code)


# The card


def test_a_card_that_somebody_else_wrote_stays(tmp_path):
    card = ModelCard("play", "MIT", {"data": "clips"})
    write_readme(tmp_path, card)
    assert MARK in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("# Mine\n")
    write_readme(tmp_path, card)
    assert (tmp_path / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize(
    ("licence", "lines"),
    [
        ("MIT", ["license: mit"]),
        ("CC BY 4.0", ["license: cc-by-4.0"]),
        ("MIT; pictures of others", ["license: mit"]),
        ('my "own": terms', ["license: other", 'license_name: "my \\"own\\": terms"']),
        ("", []),
    ],
)
def test_the_head_of_a_card_names_the_licence_as_the_hub_does(licence, lines):
    from huggingface_hub import ModelCard as HubCard

    text = ModelCard("play", licence, {"data": "a | b <c>"}).to_markdown()
    head = text.split("---\n")[1].splitlines()
    assert [line for line in head if line.startswith("license")] == lines
    assert HubCard(text, ignore_metadata_errors=False).data.library_name == "arvdm"
