"""`arvdm upload`: bring a model of your own to the Hub."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from ..errors import NetworkError
from . import completion
from .console import out as stdout
from .console import printable, say, settings, write_json


def upload(
    name: Annotated[
        str, Argument(metavar="RUN", autocompletion=completion.models, help="Folder of a training run or a checkpoint.")
    ],
    repo: Annotated[str, Argument(metavar="OWNER/NAME", help="Repository on the Hub; it is created where missing.")],
    private: Annotated[bool, Option("--private", help="Create a repository that only its owner sees.")] = False,
    revision: Annotated[str, Option(help="Branch to upload to; it is created where missing.")] = "main",
    message: Annotated[
        str | None, Option("--message", "-m", help="Message of the commit.", show_default="names the run")
    ] = None,
    timeout: Annotated[float, Option(min=1, help="Give up after N seconds without an answer.")] = 30.0,
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be uploaded, and upload nothing.")] = False,
):
    """Upload a model to the Hub: config, weights, hashes, model card and pictures, never saved states or data."""
    from ..hub.download import show_size
    from ..hub.upload import pack, send

    parcel = pack(name, repo, revision)
    files = [{"name": path.name, "bytes": path.stat().st_size} for path in parcel.files]
    facts: dict[str, object] = {"repo": repo, "revision": revision, "folder": str(parcel.folder), "files": files}
    if dry_run:
        if settings.json:
            return write_json(facts)
        for path in parcel.files:
            stdout.print(f"{printable(path.name)}  {show_size(path.stat().st_size)}")
        return stdout.print(f"{show_size(parcel.size)} from {printable(str(parcel.folder))} to {repo}", soft_wrap=True)
    if settings.offline:
        raise NetworkError("Nothing can be uploaded offline.", hint="Leave out --offline; unset ARVDM_OFFLINE.")
    say(f"uploading {len(files)} files, {show_size(parcel.size)}, to {repo}")
    sent = send(parcel, private, message or "", timeout)
    if settings.json:
        return write_json(facts | {"url": sent.url, "commit": sent.commit})
    say(f"anyone who may see it gets the same files with: arvdm download {repo}")
    stdout.print(sent.url, soft_wrap=True)
