import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdl.errors import GarbledError
from sdl.wires.frames import Frame, answering, between, exactly, until


def test_a_frame_ends_with_its_end():
    assert until(b"\r\n")(b"1.0\r\n2.0\r\n") == 5
    assert until(b"\r\n")(b"1.0\r") is None


def test_a_frame_between_two_marks_needs_both_in_order():
    frame = between(b"\x02", b"\x03")
    assert frame(b"\x0200S\x03rest") == 5
    assert frame(b"\x03\x0200S") is None
    assert frame(b"noise\x0200S\x03") == 10


def test_a_frame_of_a_length_is_whole_when_it_is_here():
    assert exactly(4)(b"123") is None
    assert exactly(4)(b"12345") == 4


def test_a_frame_that_answers_something_else_is_garbled():
    frame = answering(until(b"\r"), lambda reply: reply.startswith(b"07"))
    assert frame(b"07S\r") == 4
    assert frame(b"08") is None
    with pytest.raises(GarbledError, match="no answer"):
        frame(b"08S\r")


@given(st.binary(), st.sampled_from([until(b"\r\n"), between(b"\2", b"\3"), exactly(5)]))
def test_a_frame_is_found_at_the_same_place_however_much_has_arrived(data: bytes, frame: Frame):
    length = frame(data)
    for upto in range(len(data) + 1):
        found = frame(data[:upto])
        assert found == (length if length is not None and upto >= length else None)
