"""Flags that say what a video begins with and what it shows: frames, the actions that led into them, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Context, Option

from ..actions import texts
from . import flags

if TYPE_CHECKING:
    from ..runs.request import PromptSource, TextSource

OF_FRAMES = ("prompt_start", "prompt_count", "prompt_crop", "fit", "prompt_actions", "include_prompt")


@dataclass(frozen=True)
class PromptFlags:
    """What a video begins with, and what it shows."""

    prompt: Annotated[
        list[str] | None,
        Option(
            "--prompt",
            metavar="TEXT",
            help='What the video shows, in words, for models that read them; "60:TEXT": from new frame 60 on. Repeat '
            "to change it along the video.",
            rich_help_panel=flags.PROMPT,
        ),
    ] = None
    negative_prompt: Annotated[
        str | None,
        Option(
            metavar="TEXT",
            show_default="the checkpoint's own",
            help="What the video does not show, in words, with --guidance above 1.",
            rich_help_panel=flags.PROMPT,
        ),
    ] = None
    prompt_frames: Annotated[
        list[str] | None,
        Option(
            "--prompt-frames",
            "-p",
            metavar="PATH",
            help="Video, image, folder of images or of episodes, archive of frames (.npz), or - for stdin; repeat "
            "for a batch.",
            rich_help_panel=flags.PROMPT,
        ),
    ] = None
    prompt_start: Annotated[
        int | None,
        Option(
            min=0,
            show_default="the last frames that the model can use",
            help="First frame of the prompt to use.",
            rich_help_panel=flags.PROMPT,
        ),
    ] = None
    prompt_count: Annotated[
        int | None,
        Option(
            min=1,
            show_default="as many as the model can use",
            help="Number of frames of the prompt to use.",
            rich_help_panel=flags.PROMPT,
        ),
    ] = None
    prompt_crop: Annotated[
        str | None,
        Option(metavar="WxH+X+Y", help="Part of the prompt's frames to use, in pixels.", rich_help_panel=flags.PROMPT),
    ] = None
    fit: flags.PromptFit = "crop"
    prompt_actions: flags.PromptActions = None

    def check(self, invocation: Context):
        """Refuse flags for frames where there are none."""
        if not self.prompt_frames:
            flags.refuse(invocation, OF_FRAMES, "there is no prompt.", "Give one with --prompt-frames.")

    @property
    def sources(self) -> Sequence[str | None]:
        """Where the frames of each video come from; None: it has none."""
        return self.prompt_frames or [None]

    def frames_from(self, path: str | None) -> PromptSource:
        """The frames of one video, and the actions that led into them."""
        from ..runs.request import PromptSource

        return PromptSource(path, self.prompt_start, self.prompt_count, self.prompt_crop, self.prompt_actions, self.fit)

    @property
    def text(self) -> TextSource:
        """The texts of all videos; raises UsageError where they are not such as `texts.parse` reads."""
        from ..runs.request import TextSource

        return TextSource(texts.parse(self.prompt or []), self.negative_prompt)
