"""`arvdm data`: render, record or import episodes to train on, look at them, and convert actions."""

from typer import Typer

from ..help import Command, Group
from . import convert, import_, inspect, make, record

app = Typer(
    cls=Group,
    help="Render, record, import and inspect training data; convert actions.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command(cls=Command, epilog="arvdm data make maze --out data/maze --episodes 100")(make.make)
app.command(
    cls=Command,
    epilog="arvdm data record ALE/Pong-v5 --out data/pong\narvdm data record CarRacing-v3 --out data/car",
)(record.record)
app.command(
    "import",
    cls=Command,
    epilog="arvdm data import recordings --out data/play --vocabulary auto\n"
    "arvdm data import teco/dmlab --out data/dmlab --split test",
)(import_.import_)
app.command(cls=Command, epilog="arvdm data inspect data/maze --sheet maze.png")(inspect.inspect)
app.command(cls=Command, epilog="arvdm data convert clip.csv clip.jsonl --clip")(convert.convert)
