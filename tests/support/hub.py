"""A repository of the Hub, and how a command ended that asked for it."""

CONFIG = b'{"format": 1, "name": "Test model", "licence": "CC0"}'
WEIGHTS = bytes(range(256)) * 1000
FILES = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "README.md": b"# A test\n", "run.py": b"print()"}
LATER = "f00d" + "0" * 36  # another commit


def kept(home):
    """Names of the files in the cache, but for locks and its tag."""
    files = [path for path in (home / "hub").rglob("*") if path.is_file()]
    return [path.name for path in files if path.suffix not in (".lock", ".TAG")]


def fails(result, code):
    """Whether a command ended as it must: that exit code, an error of a line, a hint at most, nothing on stdout."""
    first, *rest = result.stderr.splitlines()
    ends = (result.returncode, result.stdout, first.startswith("arvdm: error: "))
    assert ends == (code, "", True), result.stderr
    assert len(rest) <= 1 and all(line.startswith("hint: ") for line in rest), result.stderr
    return True
