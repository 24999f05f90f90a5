"""Figures that cannot be written."""

import pytest

from arvdm_cli.errors import OutputError, UsageError
from arvdm_cli.reports.figure import figure, write_figure


def test_a_suffix_that_is_not_a_picture_is_a_usage_error_and_a_place_that_is_not_there_an_output_error(tmp_path):
    chart, _ = figure()
    with pytest.raises(UsageError, match="Format 'txt' is not supported"):
        write_figure(chart, tmp_path / "a.txt")
    with pytest.raises(OutputError, match="No such file"):
        write_figure(chart, tmp_path / "nowhere" / "a.png")
