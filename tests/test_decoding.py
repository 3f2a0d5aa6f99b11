"""The quick way through a document and marshmallow's own agree on what is at fault and on what is read."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields, pre_load, validate

from service.serving.decoding import Document, Inner, Malformed, Moment, Plain, Several, Text, json_object


class _Leaf(Document):
    word = Text()
    count = Plain(int, required=True, validate=validate.Range(min=1))


class _Tree(Document):
    id = Plain(str, required=True, validate=validate.Length(min=1))
    flag = Plain(bool, "isFlag")
    anything = fields.Dict()
    leaf = Inner(_Leaf, load_default=None, allow_none=True)
    needed = Inner(_Leaf, required=True)
    words = Several(Text())
    leaves = Several(Inner(_Leaf))
    at = Moment("at")


A_LEAF = {"word": "leaf", "count": 1}
A_TREE = {
    "id": "tree",
    "isFlag": True,
    "anything": {"else": 1},
    "leaf": A_LEAF,
    "needed": A_LEAF,
    "words": ["one", "two"],
    "leaves": [A_LEAF, A_LEAF],
    "at": "2026-01-02T03:04:05.678Z",
}
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["2026-01-02T03:04:05.678Z", "2026-13-02T03:04:05.678Z", "0001-01-01T00:00:00+14:00"]),
    st.just(A_LEAF),
    st.lists(st.sampled_from([None, "word", 1, A_LEAF, {"word": 1, "count": 1}, {}]), max_size=2),
    st.dictionaries(st.sampled_from(["word", "count"]), st.sampled_from([None, 0, 1, "", "word", True])),
)
documents = st.tuples(
    st.dictionaries(st.sampled_from([*A_TREE, "unknown"]), odd_values, max_size=2), st.sets(st.sampled_from([*A_TREE]))
).map(
    lambda drawn: {key: value for key, value in A_TREE.items() if key not in drawn[1] or len(drawn[1]) > 2} | drawn[0]
)


def faults_of(document: Any, load: Any) -> Any:  # noqa: ANN401  # a method of a schema, and what marshmallow tells
    try:
        load(document)
    except ValidationError as error:
        return error.messages
    return None


@given(documents)
def test_what_is_at_fault_is_what_marshmallow_finds_at_fault(document: dict[str, Any]) -> None:
    tree = _Tree()

    faults = faults_of(document, tree.load)

    assert faults == faults_of(document, lambda given: Schema.load(tree, given))
    assert (faults is None) == (faults_of(document, tree._quickly) is None)  # noqa: SLF001  # what is under test


def test_a_document_is_read_as_marshmallow_reads_it() -> None:
    tree = _Tree()

    assert tree.load(A_TREE) == Schema.load(tree, A_TREE)
    assert tree.load(A_TREE)["at"] == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize("text", ["leaf\x00", "\x00 le\x00af"])
def test_nul_characters_are_dropped_from_a_text_wherever_it_stands(text: str) -> None:
    tree = _Tree().load(A_TREE | {"leaf": {"word": text, "count": 1}, "words": [text, "\x00"]})

    assert (tree["leaf"]["word"], tree["words"]) == ("leaf", ["leaf", None])


class _Hooked(_Tree):
    asked = 0

    @pre_load
    def ask(self, data: object, **_: object) -> object:
        self.asked += 1
        return data


@pytest.mark.parametrize(("changes", "asked"), [({}, 0), ({"id": 1}, 1)], ids=["without a fault", "with a fault"])
def test_marshmallow_is_asked_only_about_a_document_with_a_fault(changes: dict[str, Any], asked: int) -> None:
    tree = _Hooked()

    faults = faults_of(A_TREE | changes, tree.load)

    assert (faults is not None, tree.asked) == (asked > 0, asked)


@pytest.mark.parametrize("part", [b"[]", b"{}", b"0"])
def test_a_large_document_of_hardly_anything_but_parts_is_refused_before_it_is_parsed(part: bytes) -> None:
    document = b'{"a": [' + b",".join([part] * 600_000) + b"]}"

    with pytest.raises(Malformed, match=r"^the message's data has too many parts$"):
        json_object(document, "the message's data")


def test_a_large_document_of_text_is_read() -> None:
    assert len(json_object(b'{"a": "' + b"," * 400_000 + b"x" * 9_000_000 + b'"}', "the data")["a"]) == 9_400_000
