"""The stages of run.sh: every part with a limit of its own, all within the seconds that there are.

OUT/STAGE/results.json tells of each part how it ended, and is written anew after each.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from join import split

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("examples/gpu")
SITE = Path("build/gpu-site")  # where wheels are installed
RENDERER = ("vizdoom", "labmaze")
TINY = os.environ.get("ARVDM_GPU_TINY") == "1"
SECONDS = {"measure": 270.0, "render": 120.0, "train": 270.0}
SAID = 4000  # last characters of what a part said that are kept
ENDING = 12.0  # seconds kept for what comes last in a stage: splitting weights, copying
STARTING = 30.0  # seconds of `arvdm train` before its clock starts and after it has stopped, at most

FACTS = """
import json, os, platform, sys, torch, numpy
card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
print(json.dumps({"card": card, "cuda": torch.version.cuda, "torch": torch.__version__, "numpy": numpy.__version__,
    "python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}))
"""


class Stage:
    """Parts that run one after the other, and what is told of them."""

    def __init__(self, name: str, out: Path):
        self.out, self.scratch = out / name, ROOT / "build" / "gpu" / name
        for folder in (self.out, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self.began = time.monotonic()
        self.seconds = float(os.environ.get("ARVDM_GPU_SECONDS") or (1800 if TINY else SECONDS[name]))
        self.told: dict[str, Any] = {"stage": name, "tiny": TINY, "limit": self.seconds, "machine": {}, "parts": []}
        self.tell()

    @property
    def left(self) -> float:
        """Seconds until the stage has to end."""
        return self.began + self.seconds - ENDING - time.monotonic()

    def tell(self) -> None:
        """Write down what is known by now."""
        self.told["seconds"] = round(time.monotonic() - self.began, 1)
        part = self.out / "results.part"
        part.write_text(json.dumps(self.told, indent=1) + "\n")
        part.replace(self.out / "results.json")

    def run(self, name: str, seconds: float, *words: str, **surroundings: str) -> Any:
        """Run a part and wait for it; gives what it printed as JSON, or None."""
        return self.wait(self.start(name, *words, **surroundings), seconds)

    def start(self, name: str, *words: str, **surroundings: str) -> tuple[str, subprocess.Popen | None, float]:
        """Start a part, if there is time for it."""
        if self.left < 5:
            return name, None, time.monotonic()
        files = [(self.scratch / f"{name}.{kind}").open("wb") for kind in ("out", "err")]
        env = os.environ | surroundings
        process = subprocess.Popen(words, stdout=files[0], stderr=files[1], env=env, start_new_session=True)
        return name, process, time.monotonic()

    def wait(self, started: tuple[str, subprocess.Popen | None, float], seconds: float) -> Any:
        """Wait for a part at most so long since its start; then interrupt it as Ctrl-C does, and at last kill it."""
        name, process, began = started
        if process is None:
            return self.note(name, "no time left", 0.0, None, "")
        status = ""
        limit = max(0.1, min(began + seconds - time.monotonic(), self.left))
        for wait, number in ((limit, signal.SIGINT), (10.0, signal.SIGKILL), (10.0, signal.SIGKILL)):
            try:
                process.wait(wait)
                break
            except subprocess.TimeoutExpired:
                status = f"stopped after {time.monotonic() - began:.0f} s"
                os.killpg(process.pid, number)
        status = status or ("ok" if process.returncode == 0 else f"ended with {process.returncode}")
        printed, said = ((self.scratch / f"{name}.{kind}").read_text(errors="replace") for kind in ("out", "err"))
        try:
            result = json.loads(printed)
        except ValueError:
            result, said = None, printed + said
        return self.note(name, status, time.monotonic() - began, result, said)

    def note(self, name: str, status: str, seconds: float, result: Any, said: str) -> Any:
        """Write down how a part ended."""
        print(f"{name}: {status}, {seconds:.1f} s", flush=True)
        if status != "ok" and said:
            print(said[-SAID:], flush=True)
        own = {"name": name, "status": status, "seconds": round(seconds, 1), "result": result, "said": said[-SAID:]}
        self.told["parts"].append(own)
        self.tell()
        return result

    def prepare(self) -> None:
        """Install wheels that were brought, and look at the machine."""
        wheels = sorted(str(path) for path in (HERE / "wheels").glob("*.whl"))
        if wheels and not SITE.is_dir():
            words = ("pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(SITE))
            self.run("wheels", 60, sys.executable, "-m", *words, *wheels)
        facts = self.run("machine", 60, sys.executable, "-c", FACTS)
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            found = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            found = ""
        self.told["machine"] = {**(facts or {}), "nvidia-smi": found or None}
        self.tell()

    def render(self) -> tuple[str, subprocess.Popen | None, float]:
        """Start to render what there is to train on; a folder that was begun is gone on with."""
        words = ["--episodes", "4" if TINY else "1200", "--posters", "32", "--bare", "0.4", "--seed", seed()]
        if TINY:
            words += ["--frames", "120"]
        return self.start("render", *arvdm("data", "make", "maze", "-o", data(), *words, "--json"))


def arvdm(*words: str) -> list[str]:
    """A command of arvdm."""
    return [sys.executable, "-m", "arvdm_cli", *words, "--progress", "none"]


def seed() -> str:
    """The seed of the episodes: another for every call that goes on training."""
    return os.environ.get("ARVDM_GPU_SEED") or "3"


def data() -> str:
    """Where the episodes lie."""
    return f"data/gpu-{'tiny-' if TINY else ''}{seed()}"


def brought() -> str:
    """The checkpoint that the caller may have brought."""
    return os.environ.get("ARVDM_GPU_START") or "runs/gpu-start/checkpoint"


def measure(stage: Stage) -> None:
    """Run the tests that need a card, while episodes are rendered; then time sampling."""
    rendering = stage.render() if can_render() else None
    tests = [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    workers = () if TINY else ("-n", "4")
    words = ("pytest", "-m", "gpu", "-p", "no:cacheprovider", "-q", "-rfEs", "--durations=10", *workers, *tests)
    stage.run("tests", 100, sys.executable, "-m", *words)
    if rendering:
        stage.wait(rendering, 120)
    maze = "maze" if Path("checkpoints/maze/model.safetensors").exists() else brought()
    oasis = tiny_oasis(stage.scratch) if TINY else "minecraft"
    few, many = (("--frames", "4"), ("--frames", "4")) if TINY else (("--frames", "8"), ("--frames", "200"))
    drawn = (oasis, "--random-weights", *few, "--json")
    caches = ("--cache", "exact", "--cache", "keep", "--cache", "off")
    seconds = 600 if TINY else 90
    stage.run("maze", seconds, *arvdm("bench", maze, *many, *caches, "--json"))
    stage.run("oasis", seconds, *arvdm("bench", *drawn, *caches))
    # with --compile every row comes twice, without and with it, so that they can be held against each other
    stage.run("maze-compile", seconds, *arvdm("bench", maze, *many, "--compile", "--json"))
    stage.run("oasis-compile", seconds, *arvdm("bench", *drawn, "--compile"))
    if not TINY:
        stage.run("oasis-compile-keep", seconds, *arvdm("bench", *drawn, "--cache", "keep", "--compile"))


def can_render() -> bool:
    """Whether the renderer is there."""
    return all((SITE / name).is_dir() for name in RENDERER)


def tiny_oasis(folder: Path) -> str:
    """A checkpoint folder that describes an Oasis small enough for a CPU."""
    config = tomllib.loads(Path("arvdm_cli/hub/registry.toml").read_text())["minecraft"]["config"]
    config["network"] = {"channels": 4, "height": 6, "width": 8, "dim": 64, "depth": 2, "heads": 4}
    config["codec"] = {"channels": 4, "height": 60, "width": 80, "patch": 10, "encoder_dim": 48, "encoder_depth": 2}
    config["codec"] |= {"encoder_heads": 3, "decoder_dim": 64, "decoder_depth": 2, "decoder_heads": 4}
    config["sampling"] |= {"context": 5}
    (folder / "oasis").mkdir()
    (folder / "oasis" / "config.json").write_text(json.dumps(config))
    return str(folder / "oasis")


def render(stage: Stage) -> None:
    """Render alone, for a `train` that comes without the renderer."""
    stage.wait(stage.render(), stage.seconds)


def train(stage: Stage) -> None:
    """Render what is missing, train for the time left, and write the weights in parts."""
    if can_render():
        stage.wait(stage.render(), 1200 if TINY else 80)
    settings, run = HERE / ("tiny.toml" if TINY else "train.toml"), stage.scratch / "run"
    weights = (sys.executable, str(HERE / "weights.py"))
    chosen = stage.run("start", 60, *weights, "start", str(settings), brought(), str(stage.scratch / "start"))
    if chosen is None:
        return
    minutes = 0.5 if TINY else (stage.left - STARTING) / 60
    words = ["--data", data(), "--out", str(run), "--start", chosen["start"], "--minutes", f"{max(0.1, minutes):.3f}"]
    words += ["--early", "0.0"] if chosen["network"] != "new" else []
    words += os.environ.get("ARVDM_GPU_FLAGS", "").split()
    flags = ["--yes", "--json", "--progress", "none"]
    stage.run("train", 3600, sys.executable, "-m", "arvdm_cli", "train", *flags, str(settings), *words)
    if not (run / "checkpoint").is_dir():
        return
    found = {"average": run / "checkpoint"}
    if stage.run("last", 30, *weights, "last", str(run), str(stage.scratch / "last")):
        found["last"] = stage.scratch / "last"
    began = time.monotonic()
    names = split(found, stage.out)
    shutil.copy(run / "metrics.jsonl", stage.out)
    sheets = sorted(run.glob("sheet-*.png"))
    if sheets:
        shutil.copy(sheets[-1], stage.out / "sheet.png")
    sizes = {path.name: path.stat().st_size for path in sorted(stage.out.iterdir())}
    stage.note("parts", "ok", time.monotonic() - began, {"checkpoints": names, "files": sizes}, "")


def main(name: str, out: Path) -> int:
    """Run a stage; gives 1 where a part of it did not end well."""
    os.chdir(ROOT)
    sites = [str(ROOT), str(ROOT / SITE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(filter(None, sites)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CONFIG_HOME": os.devnull,
        "HF_HUB_OFFLINE": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(ROOT / "build" / "gpu-compiled"),
    }
    stage = Stage(name, out)
    try:
        stage.prepare()
        {"measure": measure, "render": render, "train": train}[name](stage)
    except Exception as error:
        stage.note("stage", f"{type(error).__name__}: {error}", 0.0, None, "")
    stage.tell()
    return int(any(part["status"] != "ok" for part in stage.told["parts"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
