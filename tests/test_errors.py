"""What every error has in common."""

from arvdm_cli.errors import LONGEST, ArvdmError


def test_a_message_of_any_length_is_cut_in_its_middle():
    assert str(ArvdmError("x" * LONGEST)) == "x" * LONGEST
    told = str(ArvdmError(f"begin {'x' * 9000} end"))
    assert len(told) == LONGEST and told.startswith("begin x") and told.endswith("x end") and "x...x" in told
