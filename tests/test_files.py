"""Files are replaced whole, or not at all."""

import pytest

from arvdm_cli.errors import OutputError
from arvdm_cli.files import replacing


def write(path, text, error=None, **options):
    with replacing(path, **options) as part:
        part.write_text(text)
        if error:
            raise error


def test_a_file_is_there_only_once_it_is_whole(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_stops_the_writing_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(error):
        write(path, "half", error)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named_with_what_to_try(tmp_path):
    with pytest.raises(OutputError, match=r"out\.txt cannot be written") as caught:
        write(tmp_path / "missing" / "out.txt", "new", hint="Choose another folder.")
    assert caught.value.hint == "Choose another folder."
