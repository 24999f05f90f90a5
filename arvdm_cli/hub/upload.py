"""Bring a checkpoint to the Hub, through its own client: config, weights, manifest, model card and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError, NetworkError, UsageError
from .card import README
from .checkpoint import verify
from .connection import proxy_of
from .layout import CONFIG, MANIFEST, WEIGHTS, index_of
from .registry import hub_client, hub_id, read_config, resolve
from .session import PATIENCE, Session, first_line, open_session
from .weights import files_of

PICTURES = (".png", ".jpg", ".webp", ".gif")


@dataclass(frozen=True)
class Parcel:
    """Files of a checkpoint on this machine, and where on the Hub they go."""

    repo: str  # owner/name
    revision: str  # branch
    folder: Path
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class Sent:
    """What an upload has left on the Hub."""

    url: str  # of the repository's page
    commit: str


def pack(name: str, repo: str, revision: str = "main") -> Parcel:
    """Choose the files of a checkpoint: what describes it and what it needs, and neither saved states nor data.

    name: a run's folder, a checkpoint's, or a short name
    Raises: CheckpointError where it is not a checkpoint in arvdm's own form, IntegrityError where a file has changed
    since it was saved, UsageError where repo is not owner/name
    """
    if (known := hub_id(repo)) is None or known[1] is not None:
        raise UsageError(
            f"{repo!r} is not a valid repository name.", hint="Write owner/name; --revision sets a branch."
        )
    folder = resolve(name)
    read_config(folder)
    if not (folder / CONFIG).is_file() or not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder} has no {CONFIG} or no {MANIFEST}, so it cannot be uploaded.")
    verify(folder)
    names = [folder / CONFIG, folder / MANIFEST, index_of(folder / WEIGHTS), folder / README]
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.is_symlink())
    files = [path for path in (*names, *files_of(folder, WEIGHTS), *pictures) if path.is_file()]
    return Parcel(repo, revision, folder, tuple(files))


def send(parcel: Parcel, private: bool = False, message: str = "", patience: float = PATIENCE) -> Sent:
    """Create the repository and the branch where they are missing, and upload all files as one commit.

    message: of the commit; "": one that says what it is
    Raises: NetworkError where we are offline, not logged in or not allowed to, or the Hub does not answer
    """
    client = hub_client()
    if client.constants.HF_HUB_OFFLINE:
        raise NetworkError(
            "Nothing can be uploaded offline.", hint="Leave out --offline; unset ARVDM_OFFLINE and HF_HUB_OFFLINE."
        )
    with open_session(patience, uploading=True) as session:
        check_login(session)
        client.utils.disable_progress_bars()
        api = client.HfApi(endpoint=session.endpoint, token=session.token, library_name="arvdm")
        with explained(parcel, session.endpoint):
            url = api.create_repo(parcel.repo, private=private or None, exist_ok=True)
            if parcel.revision != "main":
                api.create_branch(parcel.repo, branch=parcel.revision, exist_ok=True)
            operations = [client.CommitOperationAdd(path.name, str(path)) for path in parcel.files]
            commit = api.create_commit(
                parcel.repo,
                operations,
                commit_message=message or f"Upload {parcel.folder.parent.name} with arvdm",
                revision=parcel.revision,
            )
    return Sent(str(url), str(commit.oid))


def check_login(session: Session) -> None:
    """Refuse to begin without a token.

    Raises: NetworkError
    """
    if session.token is False:
        raise NetworkError(
            f"No token is set for {session.endpoint}.", hint="Set ARVDM_HUB_TOKEN to one that may write."
        )
    if session.token is None and not hub_client().get_token():
        raise NetworkError(
            f"You are not logged in to {session.endpoint}.",
            hint="Log in with `hf auth login` and a token that may write, or set HF_TOKEN.",
        )


@contextmanager
def explained(parcel: Parcel, endpoint: str) -> Iterator[None]:
    """Put the client's errors into our words."""
    from huggingface_hub import errors

    # the root of the HTTP library's own errors, whichever it is
    http: type[BaseException] = errors.HfHubHTTPError.__bases__[0]
    try:
        yield
    except (errors.HfHubHTTPError, http) as error:
        raise explain(parcel, endpoint, error) from error
    except OSError as error:
        if error.errno is None:  # the client's word for what its transfer could not do
            raise explain(parcel, endpoint, error) from error
        raise CheckpointError(f"{parcel.folder} cannot be read: {error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(
            f"{endpoint} did not take {parcel.repo}: {first_line(error)}.", hint="See HF_ENDPOINT and README.md."
        ) from error


def explain(parcel: Parcel, endpoint: str, error: BaseException) -> NetworkError:
    """Why an upload was refused or has failed, and what to try."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return NetworkError(
            f"{endpoint} does not accept the token (401).", hint="Log in again with `hf auth login`, or set HF_TOKEN."
        )
    if status in (403, 404):
        return NetworkError(
            f"{endpoint} does not let you write to {parcel.repo} ({status}).",
            hint="Choose an owner that is you or your organization, and a token that may write.",
        )
    reason = f"HTTP {status}" if status else first_line(error)
    hint = "Try again: what has been uploaded is kept."
    if not status and (variable := proxy_of(endpoint)):
        hint = f"Check the proxy in {variable}, or unset it; list hosts to reach without it in NO_PROXY."
    return NetworkError(f"{parcel.repo} could not be uploaded to {endpoint}: {reason}.", hint=hint)
