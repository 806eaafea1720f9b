from uuid import UUID

import pytest

from posthorn.adapters.postgres.ids import read_id
from posthorn.model.events import Event, EventError, decode_event, encode_event

_TEXT = "0198aaaa-bbbb-7ccc-8ddd-eeeeffff0000"


def test_an_id_of_the_driver_is_that_of_the_standard_library() -> None:
    found, known = read_id(_TEXT), UUID(_TEXT)
    assert isinstance(found, UUID)
    assert (found, hash(found), str(found), found.int) == (known, hash(known), _TEXT, known.int)
    assert {known: "found"}[found] == {found: "found"}[known]
    assert sorted([read_id(_TEXT), UUID(int=1)]) == [UUID(int=1), known]


def test_an_event_is_read_with_it() -> None:
    line = encode_event(Event(UUID(_TEXT), 1.5, "accepted", {"size": 3}))
    assert decode_event(line, read_id=read_id) == decode_event(line)
    for bad in (b'"x"', b"5", b"null"):
        with pytest.raises(EventError):
            decode_event(line.replace(b'"' + _TEXT.encode() + b'"', bad), read_id=read_id)
