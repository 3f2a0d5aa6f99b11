"""A TOML file: its values, the line of each key, and what is said of one that cannot be read."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.config import ConfigError, settings_from
from service.serving.toml_file import NotToml, TomlFile, read_toml, toml_of
from tests.builders import an_environment

LARGEST = 256 * 1024


def the_sentence(data: bytes) -> str:
    with pytest.raises(NotToml) as raised:
        toml_of(data, "m.toml")
    return str(raised.value)


FILE = """\
# a comment
version = 1

[identify]
on = [
  "created",
]
traits.points = { from = "custom.points", values = { gold = "Gold" } }
traits."company.vatId" = "vatId"  # [no.table]

[ consent . categories ]  # a header
'Advertising' = "a"
  Analytics   = { value = true }

[[route]]
name = "first"
[[route]]
name = "second"
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param(("version",), 2, id="a key at the root"),
        pytest.param(("identify",), 4, id="a table"),
        pytest.param(("identify", "on"), 5, id="a key in a table"),
        pytest.param(("identify", "on", 0), 5, id="an element of an array: the array's"),
        pytest.param(("identify", "traits"), 8, id="a table by its first dotted key"),
        pytest.param(("identify", "traits", "points"), 8, id="a dotted key"),
        pytest.param(("identify", "traits", "points", "from"), 8, id="a key in an inline table"),
        pytest.param(("identify", "traits", "points", "values", "gold"), 8, id="one in an inline table inside"),
        pytest.param(("identify", "traits", "company.vatId"), 9, id="a quoted key with a dot"),
        pytest.param(("identify", "gone", "gone"), 4, id="a missing key: the table's"),
        pytest.param(("gone",), 1, id="a missing key at the root"),
        pytest.param((), 1, id="the file"),
        pytest.param(("consent", "categories"), 11, id="a header with blanks"),
        pytest.param(("consent", "categories", "Advertising"), 12, id="a key in single quotes"),
        pytest.param(("consent", "categories", "Analytics"), 13, id="an indented key"),
        pytest.param(("route", 0, "name"), 16, id="the first of an array of tables"),
        pytest.param(("route", 1, "name"), 18, id="the second"),
    ],
)
def test_every_key_has_its_line(path: tuple[str | int, ...], line: int, newline: str) -> None:
    assert toml_of(FILE.replace("\n", newline).encode(), "m.toml").line(path) == line


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
def test_what_only_unicode_takes_for_the_end_of_a_line_counts_none(separator: str) -> None:
    assert toml_of(f"# {separator}\nversion = 1".encode(), "m.toml").line(("version",)) == 2


def test_a_byte_order_mark_and_windows_ends_of_lines_are_no_content() -> None:
    assert toml_of(b"\xef\xbb\xbfversion = 1\r\n[identify]\r\n", "m.toml").values == {"version": 1, "identify": {}}


def test_an_empty_file_has_no_values() -> None:
    assert toml_of(b"", "m.toml") == TomlFile("m.toml", {})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        pytest.param(b"#" * (LARGEST + 1), "m.toml is larger than 256 KiB.", id="too large"),
        pytest.param(b"a = 1\nb = '\xff'\n", "m.toml:2: this line is not UTF-8.", id="not UTF-8"),
        pytest.param("a = 1".encode("utf-16"), "m.toml:1: this line is not UTF-8.", id="UTF-16"),
        pytest.param(b"a = " + b"[" * 100_000, "m.toml is nested too deeply.", id="arrays"),
        pytest.param(b"a = " + b"{a = " * 40_000, "m.toml is nested too deeply.", id="inline tables"),
        pytest.param(b"\n[" + b"a." * 100_000 + b"a]", "m.toml:2: this key has too many dots.", id="tables"),
        pytest.param(b"\n" + b"a." * 100_000 + b"a = 1", "m.toml:2: this key has too many dots.", id="a dotted key"),
        pytest.param(
            b"a = {" + b"'a' . " * 21 + b"a = 1}", "m.toml:1: this key has too many dots.", id="an inline dotted key"
        ),
        pytest.param(b"a = " + b"1" * 5000, "m.toml has a number that is too long.", id="a number of 5,000 digits"),
        pytest.param(
            b"secret = 1\nsecret = 2",
            "m.toml:2: this is not TOML: a key or a table is there twice (column 11).",
            id="a key twice, at the very end",
        ),
        pytest.param(
            b"secret = 1\nsecret = 2\nb = 1",
            "m.toml:2: this is not TOML: a key or a table is there twice (column 11).",
            id="a key twice",
        ),
        pytest.param(
            b"[secret]\n[secret]",
            "m.toml:2: this is not TOML: a key or a table is there twice (column 8).",
            id="a table twice",
        ),
        pytest.param(
            b'["it\'s secret"]\n["it\'s secret"]',
            "m.toml:2: this is not TOML: a key or a table is there twice (column 15).",
            id="a table twice, with an apostrophe in its name",
        ),
        pytest.param(
            b"a = { secret = 1, secret = 2 }",
            "m.toml:1: this is not TOML: a key or a table is there twice (column 29).",
            id="a key twice in an inline table",
        ),
        pytest.param(
            b"a = 1\na.secret = 2",
            "m.toml:2: this is not TOML: a key or a table is there twice (column 13).",
            id="a value that is a table too",
        ),
        pytest.param(
            b"a = {}\na.secret = 2",
            "m.toml:2: this is not TOML: a key or a table is there twice (column 13).",
            id="an inline table that goes on",
        ),
        pytest.param(
            b"secret",
            "m.toml:1: this is not TOML: Expected '=' after a key in a key/value pair (column 7).",
            id="a word",
        ),
        pytest.param(
            b"[secret",
            "m.toml:1: this is not TOML: Expected ']' at the end of a table declaration (column 8).",
            id="half a header",
        ),
        pytest.param(
            b"a = 'x\x01'", "m.toml:1: this is not TOML: Found invalid character (column 7).", id="a control character"
        ),
        pytest.param(
            b'a = "x', "m.toml:1: this is not TOML: Illegal character (column 7).", id="a text without an end"
        ),
        pytest.param(
            b'a = "\\x"', "m.toml:1: this is not TOML: Unescaped '\\' in a string (column 8).", id="a backslash"
        ),
        pytest.param(
            b"a = secret", "m.toml:1: this is not TOML: Invalid value (column 5).", id="a text without quotes"
        ),
        pytest.param(
            b"a = 2020-02-30", "m.toml:1: this is not TOML: Invalid date or datetime (column 5).", id="a date"
        ),
        pytest.param(b"a = [1,", "m.toml is not TOML: Invalid value, seen at its end.", id="an array without an end"),
        pytest.param(
            b"a = 1\rb = 2",
            "m.toml:1: this is not TOML: Expected newline or end of document after a statement (column 6).",
            id="an old Macintosh's ends of lines",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_and_none_of_its_content(data: bytes, sentence: str) -> None:
    assert the_sentence(data) == sentence


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\n" * LARGEST, id="nothing but lines"),
        pytest.param(b" " * LARGEST, id="nothing but blanks"),
        pytest.param(b"a = '''\n[a" + b" " * 250_000 + b"'''", id="blanks in what looks like a header"),
        pytest.param(b"a = '''\na = {" + b"{ " * 120_000 + b"'''", id="braces in a text"),
        pytest.param(b"a" * 250_000 + b" = 1", id="a long key"),
    ],
)
def test_a_file_of_one_thing_is_read_in_one_pass(data: bytes) -> None:
    toml_of(data, "m.toml")  # what took quadratic time would meet the timeout of the tests


@given(st.text(max_size=60) | st.text(alphabet="[]{}=\"'.,#\n\\ a1-:TZ_", max_size=60))
@example("a = 1979-05-27T00:32:00+99:99")
@example("\ufeff\ufeff")
def test_any_text_is_a_file_or_a_sentence(text: str) -> None:
    try:
        file = toml_of(text.encode("utf-8", "surrogatepass"), "m.toml")
    except NotToml as not_toml:
        assert str(not_toml).startswith("m.toml")  # noqa: PT017  # either is right
        assert str(not_toml).endswith(".")  # noqa: PT017
    else:
        assert all(1 <= file.line((key,)) <= text.count("\n") + 1 for key in file.values)


# ---- where it is


def test_a_file_has_its_name_without_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_bytes(b"version = 1")

    assert read_toml(path) == toml_of(b"version = 1", "m.toml")
    assert settings_from(an_environment(MAPPING_FILE=str(path))).mapping_file == toml_of(b"version = 1", "m.toml")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param("gone.toml", "gone.toml does not exist.", id="missing"),
        pytest.param("folder", "folder is a folder, not a file.", id="a folder"),
        pytest.param("pipe", "pipe is not a regular file.", id="a pipe"),
        pytest.param("empty.toml/m.toml", "m.toml cannot be read: Not a directory.", id="a file taken for a folder"),
        pytest.param("bad.toml", "bad.toml:1: this is not TOML: Invalid value (column 5).", id="not TOML"),
        pytest.param("x" * 300, f"{'x' * 300} cannot be read: File name too long.", id="a long name"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_the_setting(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.toml").touch()
    (tmp_path / "bad.toml").write_text("a = secret")

    with pytest.raises(ConfigError) as raised:
        settings_from(an_environment(MAPPING_FILE=str(tmp_path / name)))

    assert str(raised.value) == f"MAPPING_FILE: {sentence}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read any file")
def test_a_file_without_the_permission_to_read_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.touch(mode=0o000)

    with pytest.raises(NotToml, match=r"^m\.toml cannot be read: Permission denied\.$"):
        read_toml(path)


def test_a_path_that_is_none_is_told() -> None:
    with pytest.raises(NotToml, match=r"^\0 cannot be read: no path\.$"):
        read_toml(Path("\0"))
    with pytest.raises(NotToml, match=r"^/ is a folder, not a file\.$"):
        read_toml(Path("/"))


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_setting_is_no_file(value: str) -> None:
    assert settings_from(an_environment(MAPPING_FILE=value)).mapping_file is None


def test_a_file_never_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_bytes(b"#" * 1024 * 1024)

    with pytest.raises(NotToml, match=r"^m\.toml is larger than 256 KiB\.$"):
        read_toml(path)
