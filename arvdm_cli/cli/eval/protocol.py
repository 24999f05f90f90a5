"""`arvdm eval protocol`: scores by the protocol of a publication."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Context, Option

from ...errors import InputError
from .. import flags
from ..console import printable, say
from ..flags import Models, Out, Yes
from .drift import networks
from .tables import loader, resumes, run, show
from .truth import AllEpisodes

SCORING = "Scoring"  # panel of the help
SCORED = ("compress", "border", "decode_context", "ssim", "lpips_range", "fvd_of")  # flags of it


@flags.sampling()
def protocol(
    invocation: Context,
    models: Models,
    data: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="TECO's DMLab or Minecraft as published (.npz; .mp4 with .npz), or a folder of episodes.",
        ),
    ],
    far: Annotated[
        bool,
        Option(
            "--far",
            help="Settings of FAR: runs with 144 and 36 true frames, seeds 0, 2, 4 and 6, bfloat16, and the scoring of "
            "its makers beside ours.",
        ),
    ] = False,
    out: Out = Path("protocol"),
    clips: Annotated[int, Option(min=1, help="Number of clips, from the first on.")] = 256,
    listed: Annotated[
        Path | None,
        Option(
            "--list",
            metavar="FILE",
            show_default="in the order of names",
            help="JSON list of clips with `video_path`, as FAR publishes it; sets which clips and their order.",
        ),
    ] = None,
    shown: Annotated[
        list[int] | None,
        Option(min=1, show_default="144", help="True frames before those to generate; repeat for several runs."),
    ] = None,
    length: Annotated[
        int | None,
        Option("--length", "-n", min=1, show_default="up to frame 300", help="New frames of each clip."),
    ] = None,
    seed: Annotated[
        list[int] | None,
        Option(show_default="0", help="Seed of the noise, clip i having seed + i; repeat to average over several."),
    ] = None,
    unknown_actions: Annotated[
        bool, Option("--unknown-actions", help="Give the model unknown actions instead of the recorded ones.")
    ] = False,
    compress: Annotated[
        bool,
        Option("--compress", help="Compare pictures after H.264 at crf 25, truth too.", rich_help_panel=SCORING),
    ] = False,
    border: Annotated[
        bool, Option("--border", help="Outline context frames in red, in both.", rich_help_panel=SCORING)
    ] = False,
    decode_context: Annotated[
        bool,
        Option("--decode-context", help="Take the context as the codec decodes it.", rich_help_panel=SCORING),
    ] = False,
    ssim: Annotated[
        Literal["inside", "padded"],
        Option(help="SSIM where its window lies inside the picture, or padded at edges.", rich_help_panel=SCORING),
    ] = "inside",
    lpips_range: Annotated[
        Literal["signed", "unit"],
        Option(help="Give the LPIPS network [-1, 1] (signed) or [0, 1] (unit).", rich_help_panel=SCORING),
    ] = "signed",
    fvd_of: Annotated[
        Literal["stretches", "clips"],
        Option(help="FVD of stretches of 16 new frames, or of whole clips with context.", rich_help_panel=SCORING),
    ] = "stretches",
    lpips: Annotated[
        Path | None, Option(help="LPIPS network as TorchScript, called with two batches in [-1, 1].")
    ] = None,
    fvd: Annotated[Path | None, Option(help="I3D network as TorchScript: i3d_torchscript.pt.")] = None,
    all_episodes: AllEpisodes = False,
    *,
    chosen: flags.Choices,
    yes: Yes = False,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "float32",
    threads: flags.Threads = None,
):
    """Score a model by a published protocol: PSNR, SSIM, LPIPS and FVD of continued clips.

    Each clip is continued from its first frames on with its recorded actions, one sample a clip. Figures are means over
    new frames, then clips, then seeds. The flags under Scoring are the ways in which FAR's scores differ from ours;
    --far adds a row with all of them beside ours; other flags take precedence over it. Sampling is the checkpoint's
    own. OUT receives protocol.json, protocol.csv (a row for each clip), strips and protocol.html.
    """
    from ...device import choose_machine
    from ...evaluation.protocol.scoring import Scoring
    from ...evaluation.studies import protocol as study_of

    if far:
        flags.refuse(invocation, SCORED, "--far sets them.", "Leave out --far.")
        dtype = dtype if "dtype" in flags.given(invocation) else "bfloat16"
    if not data.exists():
        raise InputError(f"{str(data)!r} does not exist.")
    changes = compress, border, decode_context, ssim == "padded", lpips_range == "unit", fvd_of == "clips"
    scoring = Scoring("chosen" if any(changes) else "arvdm", *changes)
    study = study_of.ProtocolStudy(
        models,
        loader(device, dtype, threads),
        data=data,
        listed=listed,
        every=all_episodes,
        clips=clips,
        length=length,
        runs=study_of.far_runs(data, shown, unknown_actions)
        if far
        else study_of.plain_runs(shown, unknown_actions, scoring),
        seeds=seed or (study_of.FAR_SEEDS if far else (0,)),
        lpips=lpips,
        fvd=fvd,
        networks=networks(lpips, fvd, choose_machine(device, dtype, threads)[0]),
        out=out,
        chosen=chosen,
    )
    if report := run(study, out, resumes(yes)):
        show(report.tables)
        for note in study.notes:
            say(note)
        say(f"wrote protocol.html, protocol.json, protocol.csv and strips to {printable(str(out))}")
