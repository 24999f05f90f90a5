"""Downloads, with the Hub's own client and a Hub on this machine that can be made to fail in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from arvdm_cli.cli import checkpoints
from arvdm_cli.errors import OutputError
from arvdm_cli.hub import download as downloads
from arvdm_cli.hub.download import Plan, Remote, show_size
from support.checkpoints import save_small
from support.hub import CONFIG, FILES, LATER, WEIGHTS, fails, kept
from support.loopback_hub import COMMIT, Handler


def test_a_download_brings_the_checkpoint_and_nothing_else_and_says_what_it_is(hub, run_apart):
    run = run_apart
    hub.repos["some/body", COMMIT]["pytorch_model.bin"] = b"pickled"
    result = run("download", "some/body")
    assert result.returncode == 0, result.stderr
    folder = result.stdout.strip()
    found = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    assert found == {name: FILES[name] for name in ("model.safetensors", "config.json", "README.md")}
    assert "3 files, 3 verified by hash, 256 kB downloaded" in result.stderr
    assert (
        "some/body is Test model" in result.stderr
        and "not made by the arvdm authors" in result.stderr
        and "CC0" in result.stderr
    )
    assert json.loads(run("info", "some/body", "--json").stdout)["folder"] == folder

    hub.seen.clear()
    assert run("download", "some/body").stdout.strip() == folder
    assert hub.bodies() == []


def test_a_dry_run_says_what_would_come_and_writes_nothing(hub, home, run):
    result = run("download", "some/body", "--dry-run")
    assert result.returncode == 0 and "256 kB" in result.stdout and COMMIT in result.stdout
    plan = json.loads(run("download", "some/body", "--dry-run", "--json").stdout)
    assert {file["name"]: file["size"] for file in plan["files"]} == {
        name: len(FILES[name]) for name in ("model.safetensors", "config.json", "README.md")
    }
    assert kept(home) == [] and hub.bodies() == []


def test_progress_is_shown_as_the_user_asks(run, hub):
    hub.repos["some/body", COMMIT]["model.safetensors"] = bytes(5_000_000)
    result = run("download", "some/body", "--progress", "json", "--json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    steps = [event for event in events if event["event"] == "download"]
    assert [step["index"] for step in steps] == sorted(step["index"] for step in steps)
    assert steps[0]["file"] == "model.safetensors" and steps[-1]["index"] + 1 == steps[-1]["total"] == 6
    assert json.loads(result.stdout)["commit"] == COMMIT
    assert run("download", "some/body", "-q", "--progress", "none").stderr == ""


def test_offline_nothing_is_asked_and_what_is_here_works(hub, run, run_apart):
    for command in ("download", "info"):
        result = run(command, "some/body", "--offline")
        assert fails(result, 4) and "arvdm download some/body" in result.stderr
    for name in ("HF_HUB_OFFLINE", "ARVDM_OFFLINE"):
        assert fails(run_apart("download", "some/body", **{name: "1"}), 4)
    assert hub.seen == []

    run("download", "some/body")
    hub.seen.clear()
    for command in ("download", "info"):
        assert run(command, "some/body", "--offline").returncode == 0
    assert run_apart("download", "some/body", HF_HUB_OFFLINE="1").returncode == 0
    assert hub.seen == []


@pytest.mark.parametrize(
    ("where", "status", "code", "says"),
    [
        ("/api/", 401, None, "hf auth login"),
        ("/api/", 403, "GatedRepo", "hf auth login"),
        ("/resolve/", 401, "GatedRepo", "hf auth login"),
        ("/resolve/", 403, None, "hf auth login"),
        ("/api/", 404, "RepoNotFound", "has no repository 'some/body'"),
        ("/revision/", 404, "RevisionNotFound", "no revision 'main'"),
        ("/resolve/", 404, "EntryNotFound", "no such file"),
    ],
)
def test_what_the_hub_does_not_give_is_an_error_of_code_4(hub, home, run, where, status, code, says):
    hub.status[where] = (status, code)
    result = run("download", "some/body")
    assert fails(result, 4) and says in result.stderr and "some/body" in result.stderr
    assert kept(home) == []


@pytest.mark.parametrize("where", ["/api/models", "/tree/", "/resolve/", "/store/"])
@pytest.mark.parametrize("fault", ["503", "silence"])
def test_a_server_that_does_not_answer_is_given_up_in_time(hub, home, run, where, fault):
    hub.headers["Retry-After"] = "600"
    if fault == "503":
        hub.status[where] = (503, None)
    else:
        hub.silent = (where,)
    began = time.monotonic()
    result = run("download", "some/body", "--timeout", "1", "--progress", "none")
    assert fails(result, 5) and hub.url in result.stderr
    assert time.monotonic() - began < 30
    assert not {"model.safetensors", "config.json"}.intersection(kept(home))


def test_a_refused_connection_is_a_network_error(run, hub, home):
    hub.close()
    result = run("download", "some/body", "--timeout", "1")
    assert fails(result, 5) and hub.url in result.stderr
    assert kept(home) == []


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://x", "http://", "http://[x", "http://h:port"])
def test_an_endpoint_that_is_no_address_is_a_mistake_in_the_settings(run, endpoint):
    assert fails(run("download", "some/body", HF_ENDPOINT=endpoint), 2)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"id": 7, "sha": "../../x"}'])
def test_a_server_that_is_no_hub_is_told_apart(run, hub, home, answer, monkeypatch):
    monkeypatch.setattr(Handler, "send_json", lambda self, _: self.send(200, {"Content-Length": len(answer)}, answer))
    result = run("download", "some/body", "--timeout", "1")
    assert fails(result, 6 if b".." in answer else 5) and hub.url in result.stderr
    assert kept(home) == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [10_000, 1_500_000], ids=["at once", "after a while"])
def test_a_body_that_is_cut_each_time_leaves_nothing(hub, home, run, size, ranges):
    hub.repos["some/body", COMMIT]["model.safetensors"] = bytes(2_500_000)
    hub.cut, hub.ranges = size, ranges and size < 20_000
    result = run("download", "some/body", "--timeout", "1", "--progress", "none")
    assert fails(result, 5)
    assert not [name for name in kept(home) if name not in ("README.md", "config.json") and len(name) != 40]


def test_a_body_that_breaks_off_is_taken_up_again(hub, run):
    hub.repos["some/body", COMMIT]["model.safetensors"] = os.urandom(2_500_000)
    hub.cut = 1_500_000
    result = run("download", "some/body", "--progress", "none")
    assert result.returncode == 0, result.stderr
    assert sum("model.safetensors" in path for path in hub.bodies()) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_flipped_byte_is_found_and_the_next_run_fetches_anew(hub, home, run, name):
    hub.flipped = (name,)
    result = run("download", "some/body", "--progress", "none")
    assert fails(result, 6) and name in result.stderr
    assert name not in kept(home)
    hub.flipped = ()
    assert fails(run("info", "some/body"), 4)
    assert run("download", "some/body").returncode == 0


def test_a_file_that_decayed_on_disk_is_found_by_the_next_download(hub, home, run):
    folder = run("download", "some/body").stdout.strip()
    with Path(folder, "model.safetensors").open("r+b") as file:
        file.write(b"x")
    assert fails(run("download", "some/body"), 6)
    assert run("download", "some/body").returncode == 0
    assert Path(folder, "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "C:\\x", "a/../../x", "..\\x", "\\\\host\\x"])
def test_a_file_name_that_leaves_its_folder_is_refused_before_anything_is_written(hub, home, run, tmp_path, name):
    hub.listed = [*FILES, name]
    before = sorted(tmp_path.rglob("*"))
    result = run("download", "some/body")
    assert fails(result, 6) and repr(name) in result.stderr
    assert sorted(tmp_path.rglob("*")) == before and hub.bodies() == []

    own = tmp_path / "own.toml"
    own.write_text(f'[mine]\nsummary = "Mine"\nrepo = "some/body"\nfiles = {{ {json.dumps(name)} = "" }}\n')
    assert fails(run("download", "mine", ARVDM_REGISTRY=str(own)), 6)


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag", "X-Repo-Commit"])
def test_a_header_cannot_lead_out_of_the_cache(hub, home, run, tmp_path, header):
    hub.headers[header] = "../../../x"
    before = sorted(tmp_path.rglob("*"))
    assert fails(run("download", "some/body"), 6)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "files",
    [{"model.pt": b"x"}, {"config.json": CONFIG, "pytorch_model.bin": b"x"}, {"model.safetensors": b"x"}, {}],
    ids=lambda files: " ".join(files) or "empty",
)
def test_a_repository_without_config_and_safetensors_is_no_checkpoint(hub, home, run, files):
    hub.add("some/body", files)
    assert fails(run("download", "some/body"), 3)
    assert kept(home) == [] and hub.bodies() == []


def start(env, *args):
    return subprocess.Popen(
        [sys.executable, "-m", "arvdm_cli", *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_a_part(home):
    until = time.monotonic() + 60
    while not list(home.rglob("*.incomplete")) and time.monotonic() < until:
        time.sleep(0.02)


def test_a_killed_download_is_completed_by_the_next(hub, home, env, run):
    hub.piece, hub.pause = 20_000, 1.0
    process = start(env, "download", "some/body")
    wait_for_a_part(home)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(home.rglob("*.incomplete"))
    assert fails(run("info", "some/body"), 4)

    hub.pause = 0
    result = run("download", "some/body")
    assert result.returncode == 0 and "3 verified" in result.stderr
    assert not list(home.rglob("*.incomplete"))


def test_an_interrupted_download_leaves_nothing_half_done(hub, home, env):
    hub.piece, hub.pause = 20_000, 1.0
    process = start(env, "download", "some/body")
    wait_for_a_part(home)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert kept(home) == []


def test_two_downloads_at_once_both_succeed(hub, home, env):
    hub.piece, hub.pause = 20_000, 1.0
    first = start(env, "download", "some/body")
    wait_for_a_part(home)
    second = start(env, "download", "some/body")
    assert "Another download" in second.stderr.readline()
    hub.pause = 0
    ends = [process.communicate() for process in (first, second)]
    assert first.returncode == second.returncode == 0 and ends[0][0] == ends[1][0], ends
    assert sum("model.safetensors" in path for path in hub.bodies()) == 1


def test_the_login_goes_to_no_other_endpoint_unless_a_token_is_set_for_it(hub, run, run_apart):
    assert run_apart("download", "some/body", HF_TOKEN="hf_secret", HUGGING_FACE_HUB_TOKEN="hf_old").returncode == 0
    assert {authorization for _, _, authorization in hub.seen} == {None}

    hub.seen.clear()
    run("remove", "some/body", "-y")
    assert run_apart("download", "some/body", HF_TOKEN="hf_secret", ARVDM_HUB_TOKEN="own").returncode == 0
    sent = {(path.startswith("/store/"), authorization) for _, path, authorization in hub.seen}
    assert sent == {(False, "Bearer own"), (True, None)}


def test_a_revision_is_a_branch_a_tag_or_a_commit(hub, run):
    hub.add("some/body", FILES | {"README.md": b"later"}, LATER, "v2")
    assert run("download", "some/body@v2").stdout.strip().endswith(LATER)
    assert run("download", f"some/body@{COMMIT}").stdout.strip().endswith(COMMIT)
    assert fails(run("info", "some/body"), 4)
    assert run("info", f"some/body@{LATER}").returncode == 0
    assert fails(run("download", "some/body@v3"), 4)


def test_a_newer_commit_that_fails_to_come_leaves_the_former_in_use(hub, run):
    folder = run("download", "some/body").stdout.strip()
    hub.add("some/body", FILES | {"model.safetensors": b"new"}, LATER)
    hub.flipped = ("model.safetensors",)
    assert run("download", "some/body", "--progress", "none").returncode == 6
    assert json.loads(run("info", "some/body", "--json").stdout)["folder"] == folder
    hub.flipped = ()
    assert run("download", "some/body").stdout.strip().endswith(LATER)
    assert json.loads(run("info", "some/body", "--json").stdout)["folder"].endswith(LATER)


def test_a_checkpoint_in_shards_is_fetched_whole_and_a_file_of_another_kind_is_not(hub, run):
    files = {"config.json": CONFIG, "model.safetensors.index.json": b"{}", "run.index.json": b"{}"}
    parts = {f"model-{at}-of-2.safetensors": WEIGHTS[at:] for at in (1, 2)}
    hub.add("some/body", files | parts | {"model.bin.index.json": b"{}", "model.bin": b"pickled"})
    result = run("download", "some/body")
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(result.stdout.strip())) == sorted(
        ["config.json", "model.safetensors.index.json", "model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    )


def test_what_a_download_brings_without_a_manifest_can_be_used(hub, run_apart, tmp_path):
    folder = save_small(tmp_path / "tiny")
    hub.add("some/body", {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")})
    assert run_apart("download", "some/body").returncode == 0
    result = run_apart("generate", "-m", "some/body", "-n", "2", "-o", tmp_path / "out.mp4")
    assert result.returncode == 0 and "no sha256.json confirms" in result.stderr, result.stderr


@pytest.fixture
def minecraft(hub, tmp_path):
    """A registry of the user's own, in which the short name leads to the Hub on this machine."""
    files = {"oasis500m.safetensors": WEIGHTS, "vit-l-20.safetensors": WEIGHTS[:1000]}
    hub.add("mirror/oasis", files | {"oasis500m.pt": b"pickled", "README.md": b"# Oasis\n"})
    digest = "b0d1d0aa7ab86cfa1b5d33b7bdaefae3a0ee3e4a4f5a13d0e5b8a2a6f0a1b6c1"
    own = tmp_path / "own.toml"
    text = '[minecraft]\nsummary = "A mirror"\nrepo = "mirror/oasis"\nlicence = "MIT"\nuse = "For tests."\n'
    own.write_text(text + '[minecraft.files]\n"oasis500m.safetensors" = ""\n"vit-l-20.safetensors" = ""\n')
    own.with_name("wrong.toml").write_text(
        own.read_text().replace('"vit-l-20.safetensors" = ""', f'"vit-l-20.safetensors" = "{digest}"')
    )
    return str(own)


def test_a_short_name_brings_the_files_of_its_entry(hub, run, minecraft, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("download", "minecraft", ARVDM_REGISTRY=minecraft)
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(result.stdout.strip())) == ["oasis500m.safetensors", "vit-l-20.safetensors"]
    assert (
        "minecraft is A mirror." in result.stderr and "Licence: MIT." in result.stderr and "For tests." in result.stderr
    )
    for name in ("minecraft", "mirror/oasis"):
        facts = json.loads(run("info", name, "--json", ARVDM_REGISTRY=minecraft).stdout)
        assert facts["folder"] == result.stdout.strip() and facts["model"] == "oasis"
        assert facts["weights"] == {"network": "oasis500m.safetensors", "codec": "vit-l-20.safetensors"}
    listed = json.loads(run("list", "--json", ARVDM_REGISTRY=minecraft).stdout)["checkpoints"]
    assert [(entry["name"], entry["here"]) for entry in listed] == [
        ("minecraft", True),
        ("maze", True),
        ("maze-fast", True),
        ("dmlab", False),
        ("far-minecraft", False),
        ("self-forcing", False),
        ("rolling-forcing", False),
        ("skyreels-1.3b", False),
    ]
    os.unlink(f"{result.stdout.strip()}/vit-l-20.safetensors")
    assert fails(run("generate", "-m", "minecraft", ARVDM_REGISTRY=minecraft), 4)  # not all of it is here


def test_the_sha256_of_an_entry_comes_before_what_the_server_says(hub, home, run, minecraft):
    result = run("download", "minecraft", "--progress", "none", ARVDM_REGISTRY=minecraft.replace("own", "wrong"))
    assert fails(result, 6) and "vit-l-20" in result.stderr
    assert kept(home) == []


def test_minecraft_is_known_as_somebody_elses_before_it_is_here(run, hub):
    facts = json.loads(run("info", "minecraft", "--json").stdout)
    assert "not by the arvdm authors" in facts["what"]
    assert facts["licence"] == "MIT" and facts["repository"] == "Etched/oasis-500m@main"
    assert not facts["here"] and "arvdm download minecraft" in facts["fetch"]
    assert "arvdm download minecraft" in run("generate", "-m", "minecraft").stderr
    assert hub.seen == []


def test_training_runs_of_the_current_folder_are_listed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_small(tmp_path / "runs" / "mine" / "checkpoint")
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)["checkpoints"]}
    assert rows["runs/mine"]["here"] and rows["runs/mine"]["bytes"] > 0
    assert "runs/mine" in run("list").stdout
    assert json.loads(run("info", "runs/mine", "--json").stdout)["name"] == "tiny"


def test_what_ships_with_arvdm_is_never_fetched_or_removed(hub, run):
    assert run("download", "maze").returncode == 0
    assert fails(run("remove", "maze", "-y"), 2)
    assert hub.seen == []


def test_remove_deletes_from_the_cache_what_it_is_told_to(hub, home, run):
    hub.add("some/body", FILES | {"README.md": b"later"}, LATER, "v2")
    run("download", "some/body")
    run("download", "some/body@v2")
    assert fails(run("remove", "some/body"), 10)
    assert "would be freed" in run("remove", "some/body", "--dry-run").stdout
    assert run("remove", "some/body@v2", "-y").returncode == 0
    assert fails(run("info", "some/body@v2"), 4)
    assert run("info", "some/body").returncode == 0
    assert json.loads(run("remove", "some/body", "-y", "--json").stdout)["removed"]
    assert kept(home) == []
    assert fails(run("remove", "some/body", "-y"), 4)


@pytest.mark.parametrize(("answer", "code"), [("n", 10), ("y", 0)])
def test_remove_asks_where_there_is_somebody_to_ask(run, arvdm, home, monkeypatch, answer, code):
    run("download", "some/body")
    monkeypatch.setattr(checkpoints, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    result = arvdm("remove", "some/body", input=f"{answer}\n")
    assert result.exit_code == code and "Delete some/body (256 kB" in result.stderr
    assert bool(kept(home)) == (answer == "n")


def test_remove_refuses_a_folder(run, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert fails(run("remove", folder, "-y"), 2)
    assert folder.is_dir()


def test_a_cache_that_cannot_be_written_says_so(run, hub, home):
    (home / "hub").touch()
    assert fails(run("download", "some/body"), 7)


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path):
    huge = Plan("some/body", "main", COMMIT, tmp_path, (Remote("model.safetensors", 10**18, "", False),))
    with pytest.raises(OutputError, match="needs"):
        downloads._check_space(huge, tmp_path / "hub" / "models--some--body")


@pytest.mark.parametrize("words", [["list"], ["info", "minecraft"], ["download", "--help"], ["download", "some/body"]])
def test_no_command_of_these_loads_torch(env, words):
    script = "import sys\nfrom arvdm_cli.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script, *words], env=env, capture_output=True, text=True, timeout=600
    )
    assert result.stdout.endswith("False\n")


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (999_900, "1 MB"), (20_239_480, "20.2 MB"), (3.35e9, "3.35 GB")],
)
def test_sizes_are_said_as_people_say_them(count, said):
    assert show_size(count) == said
