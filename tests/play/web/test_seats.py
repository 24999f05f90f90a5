"""Of those who watch one drives, as long as there is one."""

from hypothesis import given
from hypothesis import strategies as st

from arvdm_cli.play.web.seats import Seats


def test_the_first_drives_and_hands_over_in_turn():
    seats = Seats()
    first, second, third = seats.enter(), seats.enter(), seats.enter()
    assert seats.driver == first
    assert seats.hand(first) and seats.driver == second
    assert not seats.hand(first) and seats.driver == second
    assert seats.hand(second) and seats.hand(third) and seats.driver == first
    assert seats.take(third) and not seats.take(third) and seats.driver == third


def test_alone_one_cannot_hand_over():
    seats = Seats()
    assert not seats.hand(seats.enter())


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "take", "hand"]), st.integers(0, 7))))
def test_who_drives_is_one_of_those_who_watch(steps):
    seats = Seats()
    for step, which in steps:
        before = seats.driver
        if step == "enter":
            changed = bool(seats.enter()) and before is None
        elif not seats.taken:
            continue
        else:
            changed = getattr(seats, step)(seats.taken[which % len(seats.taken)])
        assert (seats.driver in seats.taken) if seats.taken else seats.driver is None
        assert changed == (seats.driver != before)
