"""What users install: a wheel with all that a run needs, and hints that name what can be installed."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this working tree, built without network; without the builder, its tests skip themselves."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Run Python in a folder elsewhere, with the wheel's files and none of the clone's."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    def run(*words):
        env = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_wheel_holds_checkpoints_the_registry_and_the_pages(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    weights = [f"arvdm_cli/checkpoints/{name}/model.safetensors" for name in ("maze", "maze-fast")]
    page = [f"arvdm_cli/play/web/page/{name}" for name in ("index.html", "page.js", "page.css", "favicon.svg")]
    assert {"arvdm_cli/hub/registry.toml", "arvdm_cli/reports/page.html", *page, *weights} <= {*names}
    assert not [name for name in names if name.startswith(("tests", "docs", "examples"))]


@pytest.mark.slow
def test_the_model_that_ships_makes_video_from_a_wheel_elsewhere(installed):
    assert "site" in installed("-c", "import arvdm_cli; print(arvdm_cli.__file__)")
    assert installed("-m", "arvdm_cli", "generate", "-n", "4", "-o", "out.mp4").strip() == "out.mp4"


@pytest.mark.slow
def test_the_example_of_readme_streams_frames_from_a_wheel_elsewhere(installed):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 12
    clip = str(ROOT / "examples" / "maze.mp4")
    assert installed("-c", code.replace("examples/maze.mp4", clip)).splitlines()[-1].startswith("24 ")


def test_hints_name_packages_that_pyproject_knows_in_the_versions_it_asks_for():
    known = {
        re.match(r"[\w.-]+", each)[0]: each for group in PROJECT["optional-dependencies"].values() for each in group
    }
    known |= {re.match(r"[\w.-]+", each)[0]: each for each in PROJECT["dependencies"]}
    elsewhere = {"lpips", "socksio", "--force-reinstall", "torch", "{'"}  # these no part of arvdm needs
    hints = [
        node.value
        for file in (ROOT / "arvdm_cli").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "pip install " in node.value
    ]
    assert len(hints) > 4
    for hint in hints:
        packages = re.search(r"pip install ((?:'[^']*'|[^`,])*)", hint)[1].partition(" with ")[0]
        for word in re.findall(r"'[^']*'|\S+", packages):
            wanted = word if word in elsewhere else word.strip("'").rstrip(".")
            name, version = re.fullmatch(r"([^<>=]+)(.*)", wanted).groups()
            assert name in known or name in elsewhere, hint
            assert not version or name + version in known[name], hint
