"""Fetch checkpoints from the Hub into its cache, every file verified, and delete them from there.

The Hub's own client does the transfer. What it does not do is done here, as it checks sizes only; see also `session`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..configs import Json
from ..errors import (
    ArvdmError,
    CheckpointError,
    IntegrityError,
    NetworkError,
    NumericError,
    OutputError,
    UnknownModelError,
)
from ..version import __version__
from .connection import proxy_of
from .contents import check_name, choose, licence_of, order
from .layout import CONFIG
from .pipelines import TRANSFORMER, VAE, check_class
from .registry import Entry, converted_folder, hub_client, kept_files, missing, storage
from .session import PATIENCE, PIECE, REQUEST, Session, first_line, open_session

CHECKED = (f"{TRANSFORMER}/{CONFIG}", f"{VAE}/{CONFIG}")  # before the weights are fetched
PIN = 8  # digits of a sha256 that the registry knows at least


@dataclass(frozen=True)
class Remote:
    """One file of a repository, as the Hub describes it."""

    name: str
    size: int  # bytes
    digest: str  # what it must hash to: a sha256, or git's sha1 of a small file; "" where nobody knows
    here: bool  # in the cache already


@dataclass(frozen=True)
class Plan:
    """Files that a download fetches, and the folder it writes them to."""

    repo: str
    revision: str  # branch, tag or commit that was asked for
    commit: str
    folder: Path
    files: tuple[Remote, ...]  # in the order of fetching; what makes the folder a checkpoint comes last
    config: Json | None = None  # where files are pickled: that of the checkpoint they are converted to
    converted: bool = False  # whether that checkpoint is here already
    licence: str = ""  # as the Hub names it; "" where it does not

    @property
    def target(self) -> Path:
        """The folder of the checkpoint."""
        return converted_folder(self.folder, self.config) if self.config else self.folder

    @property
    def size(self) -> int:
        """Bytes that are not here yet."""
        return sum(file.size for file in self.files if not file.here)


def plan(entry: Entry, patience: float = PATIENCE) -> Plan:
    """Ask the Hub what a checkpoint consists of; nothing is written.

    Raises: UnknownModelError where the Hub does not have it or does not give it to us, NetworkError where it does not
    answer, IntegrityError where a file name leaves the folder, CheckpointError where there is no checkpoint
    """
    assert entry.repo is not None
    repo, revision = entry.repo, entry.revision
    if hub_client().constants.HF_HUB_OFFLINE:
        raise missing(entry)
    with open_session(patience) as session, _explained(entry, session.endpoint):
        client = hub_client()
        api = client.HfApi(endpoint=session.endpoint, token=session.token, library_name="arvdm")
        found = api.model_info(repo, revision=revision)
        commit = found.sha
        if not re.fullmatch(r"\w+", commit or "", re.ASCII):
            raise IntegrityError(
                f"{session.endpoint} gives {commit!r} as a commit of {repo}, which is not a valid commit."
            )
        names = list(entry.files) or api.list_repo_files(repo, revision=commit)
        for name in names:
            check_name(name, repo)
        folder = storage(repo) / "snapshots" / commit
        config = entry.config if entry.pickled else None
        target = converted_folder(folder, config) if config else folder
        converted = bool(config) and all((target / name).is_file() for name in kept_files(entry))
        files = []
        for name in names if entry.files else choose(names, entry):
            session.renew()
            url = client.hf_hub_url(repo, name, revision=commit, endpoint=session.endpoint)
            facts = client.get_hf_file_metadata(url, token=session.token, timeout=REQUEST, retry_on_errors=True)
            here = converted or (folder / name).is_file()
            files.append(Remote(name, facts.size or 0, _promise(entry, name, facts.etag or ""), here))
    files.sort(key=lambda file: order(file.name))
    return Plan(repo, revision, commit, folder, tuple(files), config, converted, licence_of(found))


def _promise(entry: Entry, name: str, etag: str) -> str:
    """What a file must hash to: what the registry says of it comes first, then what the Hub says."""
    pin, said = entry.files.get(name, ""), etag if _is_digest(etag) else ""
    if len(pin) == PIN and len(said) == 64:  # the beginning of a sha256, of which the Hub knows the rest
        if not said.startswith(pin):
            raise IntegrityError(f"{name} of {entry.repo} is another file than {entry.name} is made of: {said[:12]}….")
        return said
    return pin or said


def fetch(
    plan: Plan,
    report: Callable[[str, int], None] = lambda name, done: None,
    note: Callable[[str], None] = lambda text: None,
    patience: float = PATIENCE,
) -> Path:
    """Bring every file of a plan into the Hub's cache and verify it; returns the folder.

    report: is told the file's name and how many bytes of the plan have come
    note: is told why nothing comes for a while

    Raises: as `plan`; IntegrityError also where a file is not what was promised (it is deleted), OutputError where the
    cache cannot be written, CheckpointError where a part of diffusers is of a class that arvdm cannot run
    """
    home = storage(plan.repo)
    with open_session(patience) as session, _explained(plan, session.endpoint):
        _check_space(plan, home)
        with _alone(home, note):
            _sweep(home)
            done = 0
            for file in plan.files:
                session.renew()
                if not plan.converted:
                    _fetch_one(plan, file, session, report, done)
                if file.name in CHECKED:
                    check_class(plan.folder / file.name)
                done += 0 if file.here else file.size
            if plan.config:
                _convert(plan, plan.config)
            reference = home / "refs" / plan.revision  # the last to change: until here the former commit stays in use
            if plan.revision != plan.commit:
                reference.parent.mkdir(parents=True, exist_ok=True)
                part = reference.with_name(f"{reference.name}.{os.getpid()}.part")
                part.write_text(plan.commit)
                os.replace(part, reference)
    return plan.target


def _fetch_one(plan: Plan, file: Remote, session: Session, report: Callable[[str, int], None], before: int) -> None:
    meter = _Meter(session, lambda count: report(file.name, before + count))
    path = Path(
        hub_client().hf_hub_download(
            plan.repo,
            file.name,
            revision=plan.commit,
            endpoint=session.endpoint,
            token=session.token,
            etag_timeout=REQUEST,
            library_name="arvdm",
            library_version=__version__,
            tqdm_class=lambda **_: meter,
        )
    )
    if path != plan.folder / file.name:
        raise IntegrityError(f"{plan.repo} returned another commit than requested for {file.name}.")
    if not matches(path, file.digest):
        discard(path)
        raise IntegrityError(
            f"{file.name} of {plan.repo} differs from the file that the server announced: "
            f"its hash is not {file.digest[:12]}….",
            hint="It was deleted; repeat the command to download it again.",
        )


def _convert(plan: Plan, config: Json) -> None:
    """Turn the pickled files of a download, which are verified, into the checkpoint of a config, or verify that one.

    Raises: CheckpointError where a file holds anything but the tensors of the config, NumericError where one is NaN;
    the pickled files are deleted then, too
    """
    from .checkpoint import verify, weights_of  # these bring in torch, which only pickled files need
    from .convert import rewrite

    if plan.converted:
        verify(plan.target)
        return
    pickled = {Path(file.name).with_suffix(".safetensors").name: plan.folder / file.name for file in plan.files}
    try:
        files = {part: pickled[name] for part, name in weights_of(config).items()}
        rewrite({key: value for key, value in config.items() if key != "weights"}, files, plan.target)
    except KeyError as error:
        raise CheckpointError(f"The entry of {plan.repo} has no file for the weights {error}.") from error
    except (CheckpointError, NumericError):
        _clear(plan)
        raise
    _clear(plan)


def _clear(plan: Plan) -> None:
    """Delete the files of a plan as they came."""
    for file in plan.files:
        path = plan.folder / file.name
        discard(path)
        with suppress(OSError):  # not empty, or the folder of all
            path.parent.rmdir()


def matches(path: Path, digest: str) -> bool:
    """Whether a file hashes to a sha256 or what it begins with, or to git's sha1 of it; "" promises nothing."""
    if not digest:
        return True
    hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size) if len(digest) == 40 else hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            hasher.update(piece)
    return hasher.hexdigest().startswith(digest)


def _is_digest(etag: str) -> bool:
    return re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", etag) is not None


def discard(path: Path) -> None:
    """Delete a file of the cache, and the blob it points to."""
    while path.is_symlink():
        target = path.parent / os.readlink(path)
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def remove(repo: str, commit: str | None = None) -> None:
    """Delete a repository from the Hub's cache; with a commit, that one only."""
    home = storage(repo)
    cache = hub_client().scan_cache_dir(home.parent)
    cached = next((repo for repo in cache.repos if repo.repo_path == home.resolve()), None)
    commits = {revision.commit_hash for revision in cached.revisions} if cached else set()
    try:
        if chosen := commits & {commit} if commit else commits:
            cache.delete_revisions(*chosen).execute()
        if commit is None or commits <= {commit}:  # what unfinished downloads left, too
            for folder in (home, home.parent / ".locks" / home.name):
                if folder.exists():
                    shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{home} cannot be deleted: {error}.") from error


def remove_converted(repo: str, folder: Path) -> None:
    """Delete a checkpoint that was converted from pickled files, and its repository if it was the last there."""
    try:
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            remove(repo)
    except OSError as error:
        raise OutputError(f"{folder} cannot be deleted: {error}.") from error


class _Meter:
    """Stands where the client wants a progress bar: counts bytes, and renews patience while new ones come."""

    def __init__(self, session: Session, report: Callable[[int], None]):
        self.session, self.report = session, report
        self.done = self.most = 0  # bytes; a retry may begin again from nothing

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    close = __exit__

    def update(self, count: float | None = 1) -> None:
        self.done += int(count or 0)
        if self.done > self.most:
            self.most = self.done
            self.session.renew()
            self.report(self.done)


@contextmanager
def _alone(home: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Hold a repository's lock, so that two downloads of it come one after the other."""
    from filelock import Timeout

    wait = hub_client().utils.WeakFileLock
    path = home.parent / ".locks" / home.name / "arvdm.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(wait(path, timeout=0.5))
        except Timeout:
            note("Another download of the same checkpoint is running; waiting for it.")
            stack.enter_context(wait(path))
        yield


def _sweep(home: Path) -> None:
    """Delete what killed downloads left; the client begins a new file each time."""
    from filelock import Timeout

    wait = hub_client().utils.WeakFileLock
    for orphan in (home / "blobs").glob("*.incomplete"):
        lock = home.parent / ".locks" / home.name / f"{orphan.name.split('.')[0]}.lock"
        with suppress(Timeout), wait(lock, timeout=0.5):  # held while another client writes it
            orphan.unlink(missing_ok=True)


def _check_space(plan: Plan, home: Path) -> None:
    there = next(folder for folder in home.parents if folder.exists())
    free = shutil.disk_usage(there).free
    size = plan.size * (2 if plan.config else 1)  # pickled files are kept until the others are written
    if size > free:
        raise OutputError(
            f"{plan.repo} needs {show_size(size)}; {there} has {show_size(free)} free.",
            hint="Set HF_HOME to another folder.",
        )


def show_size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


@contextmanager
def _explained(what: Entry | Plan, endpoint: str) -> Iterator[None]:
    """Put the client's errors into our words."""
    hub_client()
    from huggingface_hub import errors

    # the root of the HTTP library's own errors, whichever it is
    http: type[BaseException] = errors.HfHubHTTPError.__bases__[0]
    try:
        yield
    except errors.LocalEntryNotFoundError as error:  # the client's word for: could not ask
        raise _explain(what, endpoint, error.__cause__ or error) from error
    except (errors.HfHubHTTPError, errors.FileMetadataError, errors.HFValidationError, http) as error:
        raise _explain(what, endpoint, error) from error
    except OSError as error:
        if error.errno is None:  # the client's check of the size
            raise _explain(what, endpoint, error) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutputError(
                f"The Hub's cache is full: {error.strerror}.", hint="Set HF_HOME to another folder."
            ) from error
        raise OutputError(
            f"Cannot write to the Hub's cache: {error}.", hint="Set HF_HOME to another folder."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(
            f"{endpoint} does not respond as a Hub does: {first_line(error)}", hint="See HF_ENDPOINT."
        ) from error


def _explain(what: Entry | Plan, endpoint: str, error: BaseException) -> ArvdmError:
    from huggingface_hub import errors

    repo, revision = what.repo, what.revision
    status = getattr(getattr(error, "response", None), "status_code", None)
    page = f"{endpoint}/{repo}"
    if isinstance(error, errors.HFValidationError):
        return UnknownModelError(f"{repo!r} is not a valid repository name.", hint="Write owner/name[@revision].")
    if isinstance(error, errors.GatedRepoError) or status in (401, 403):
        return UnknownModelError(
            f"{endpoint} denied access to {repo} ({status}): it is gated or private, or does not exist.",
            hint=f"Accept its licence at {page}, and log in with `hf auth login`.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UnknownModelError(f"{repo} has no revision {revision!r}.", hint=f"See {page}.")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return UnknownModelError(f"{repo} has no such file: {urlsplit(str(error.response.url)).path}.")
    if status == 404:
        return UnknownModelError(f"{endpoint} has no repository {repo!r}.", hint="Check the name.")
    reason = f"HTTP {status}" if status else first_line(error)
    hint = "Try again; complete files are kept, the incomplete one is downloaded again."
    if not status and (variable := proxy_of(endpoint)):
        hint = f"Check the proxy in {variable}, or unset it; list hosts to reach without it in NO_PROXY."
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = "Set SSL_CERT_FILE to a PEM file of the certificates to trust, such as those of your network's proxy."
    return NetworkError(f"{repo} could not be downloaded from {endpoint}: {reason}.", hint=hint)
