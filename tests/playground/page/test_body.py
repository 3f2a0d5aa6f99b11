"""The body of a request is a JSON object that everything behind it can use."""

import pytest

from playground.page.body import object_in

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"{}{}", b'{"a":' + b"1" * 5_000 + b"}"]
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^The request must be a JSON object\.$"):
        object_in(data)


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_a_word_of_python_is_no_number(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is no number of JSON\.$"):
        object_in(b'{"a": [%s]}' % name.encode())


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 400])
def test_a_number_that_no_float_can_have_is_refused(number: bytes) -> None:
    with pytest.raises(ValueError, match=r" is too large\.$"):
        object_in(b'{"a": {"b": %s}}' % number)


@pytest.mark.parametrize("inner", [DEEP, b"[" * 100 + b"]" * 100])
def test_json_that_is_nested_too_deeply_is_refused(inner: bytes) -> None:
    with pytest.raises(ValueError, match=r"^The JSON must not be nested deeper than 100 levels\.$"):
        object_in(b'{"a":' + inner + b"}")


@pytest.mark.parametrize("document", [b'{"a": "\\ud800"}', b'{"\\udfff": 1}', b'{"a": [{"b": "x\\ud83dx"}]}'])
def test_half_of_a_character_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        object_in(document)


def test_any_text_and_number_of_unicode_and_json_is_taken() -> None:
    data = '{"name": "\\ud83d\\ude00 <script> \u202e \\u0000", "numbers": [0, -1, 1.5, 1e300], "empty": [{}, [], null]}'

    assert object_in(data.encode()) == {
        "name": "\U0001f600 <script> \u202e \0",
        "numbers": [0, -1, 1.5, 1e300],
        "empty": [{}, [], None],
    }
