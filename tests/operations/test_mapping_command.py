"""mapping: what is sent and from where, examples beside their expectations, and what another file changes."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.config import settings_from
from service.integration import integration_by
from service.operations import Exit
from service.operations.explain import explained
from service.operations.mapping import comparable, rules_by, teller
from service.serving.toml_file import toml_of
from service.transformation import IdentifyRules
from service.transformation.mapping_file import built_in_mapping
from service.transformation.rules import shop_mapping
from tests.builders import CUSTOMER_ID, a_customer, a_message, an_address, an_order
from tests.operations.commands import ROOT, Ended, run

MAPPING = """\
version = 1
[identify]
exclude = ["birthday"]
retired = ["loyaltyLevel"]
anonymous_id = "custom.anonymous"
external_ids = { crm_id = "externalId" }
[identify.traits]
points = { from = "custom.points", as = "number" }
newsletter = { from = "custom.newsletter", as = "boolean", default = false }
"address.floor" = "address.custom.floor"
vip = { expr = "custom.points > `1000`", as = "boolean" }
[consent]
send = ["Advertising"]
[consent.categories]
Advertising = "custom.ads"
Functional = { value = true }
"""
ANOTHER = MAPPING.replace('as = "number"', 'as = "text"').replace("newsletter", "letters").replace("exclude", "#")
CUSTOM = {"points": 5, "newsletter": True, "anonymous": "anonymous-1", "ads": True}
MISTAKEN = 'version = 1\n[identify]\ndefault = true\n[identify.traits]\npoints = { from = "password" }\n'


def a_buyer(fields: Mapping[str, object] = CUSTOM, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any JSON
    return a_customer(custom={"type": {"typeId": "type", "id": "t"}, "fields": dict(fields)}, **changes)


def write(folder: Path, **files: object) -> None:
    """Write files: NAME__identify as NAME.identify.json; bytes as they are, and anything else as JSON."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / f"{name.replace('__', '.')}.json").write_bytes(data)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING)
    return path


@pytest.fixture
def examples(tmp_path: Path, file: Path) -> Path:
    """A folder with one example whose expectation holds."""
    folder = tmp_path / "examples"
    folder.mkdir()
    write(folder, mira=a_buyer())
    assert run_test(folder, file, "--update").code == Exit.DONE
    return folder


def run_test(folder: Path, file: Path, *options: str) -> Ended:
    settings = {"MAPPING_FILE": str(file), "SEGMENT_USER_ID": "id", "COLUMNS": "200"}
    return run("mapping", "test", str(folder), *options, settings=settings)


def expectation(folder: Path) -> Any:  # noqa: ANN401  # any JSON
    return json.loads((folder / "mira.identify.json").read_text())


# show


def test_show_has_each_trait_with_its_source_what_absent_means_and_its_line(file: Path) -> None:
    ended = run("mapping", "show", str(file))

    assert ended.code == Exit.DONE, ended.err
    for words in (
        "mapping.toml, fingerprint ",
        "email email; clear false not sent built-in",
        "phone address.mobile, else address.phone not sent built-in",
        "address.floor address.custom.floor not sent mapping.toml:10",
        "points custom.points; as number null mapping.toml:8",
        "newsletter custom.newsletter; as boolean; default false mapping.toml:9",
        "vip expr custom.points > `1000`; as boolean null mapping.toml:11",
        "retired loyaltyLevel null mapping.toml:4",
        "excluded birthday not sent mapping.toml:3",
        "anonymousId custom.anonymous; as text not sent mapping.toml:5",
        "externalId crm_id externalId; as text not sent mapping.toml:6",
        "consent Advertising custom.ads false mapping.toml:15",
        "consent Functional value true mapping.toml:16",
        "consent.send Advertising mapping.toml:13",
        "identify.on created, updated",
    ):
        assert words in ended.said, ended.said


def test_show_follows_the_settings_and_has_the_fingerprint_of_the_service(file: Path) -> None:
    settings = {"MAPPING_FILE": str(file), "SEGMENT_USER_ID": "id", "SEGMENT_CLEAR_TRAITS": "off"}

    document = run("mapping", "show", "--json", settings=settings).document

    rules = {(row["what"], row["name"]): row for row in document["rules"]}
    assert rules["trait", "points"] == {
        "what": "trait",
        "name": "points",
        "rule": {"from": ["custom.points"], "as": "number"},
        "absent": "not sent",
        "line": "mapping.toml:8",
    }
    assert (document["file"], document["user_id"], document["clear_traits"]) == ("mapping.toml", "id", "off")
    assert document["fingerprint"] == rules_by(settings).identify.fingerprint


OF_ORDERS = """
[order]
anonymous_id = "custom.segmentAnonymousId"
locale = "de"
"""


@pytest.mark.parametrize("orders", ["off", "on"])
def test_show_has_the_rules_for_orders_and_whether_they_have_an_effect(file: Path, orders: str) -> None:
    file.write_text(MAPPING + OF_ORDERS)
    settings = {"MAPPING_FILE": str(file), "ORDERS": orders, "SEGMENT_WRITE_KEY": "x", "PUSH_AUTH": "none"}

    ended = run("mapping", "show", settings=settings)
    document = run("mapping", "show", "--json", settings=settings).document

    assert "order.anonymous_id custom.segmentAnonymousId mapping.toml:19" in ended.said
    assert "order.locale de mapping.toml:20" in ended.said
    effect = {"off": "orders off (ORDERS): [order] has no effect", "on": "orders on (ORDERS), imports: none"}
    assert effect[orders] in ended.said
    assert document["fingerprint"] == integration_by(settings_from(settings)).fingerprint


def test_data_has_the_fields_of_orders_where_they_are_on(file: Path) -> None:
    file.write_text(MAPPING + OF_ORDERS)
    settings = {"MAPPING_FILE": str(file), "ORDERS": "on", "SEGMENT_USER_ID": "id"}

    document = run("mapping", "show", "--data", "--json", settings=settings).document

    fields = {one["field"]: one["places"] for one in document["fields"]}
    assert fields["order.customerEmail"] == ["context.traits.email"]
    assert fields["order.customerId"] == ["userId"]
    assert fields["order.custom.fields.segmentAnonymousId"] == ["anonymousId"]
    assert "track: Order Refunded" in document["events"]


def test_examples_and_differences_take_a_file_with_rules_for_orders(examples: Path, file: Path) -> None:
    file.write_text(MAPPING + OF_ORDERS)
    old = file.with_name("old.toml")
    old.write_text(MAPPING)

    assert run_test(examples, file).code == Exit.DONE
    assert "order.locale added de" in run("mapping", "diff", str(old), str(file)).said
    customers = [str(examples / "mira.json")]
    assert run("mapping", "diff", str(old), str(file), *customers, settings={"SEGMENT_USER_ID": "id"}).code == Exit.DONE


def test_an_order_among_the_examples_is_no_customer(examples: Path, file: Path) -> None:
    write(examples, order=an_order())

    assert "order.json: there is no customer in it" in run_test(examples, file).said


def test_show_without_a_file_has_every_built_in_trait() -> None:
    document = run("mapping", "show", "--json").document

    traits = {row["name"].partition(".")[0] for row in document["rules"] if row["what"] == "trait"}
    assert traits == {trait.name for trait in built_in_mapping().identify.traits}
    assert {row["line"] for row in document["rules"]} == {"built-in"}
    assert document["file"] is None


def test_defaults_and_schema_are_the_files_of_the_package(tmp_path: Path) -> None:
    folder = ROOT / "service" / "transformation"
    schema = tmp_path / "schema.json"

    printed = run("mapping", "show", "--defaults").out
    assert run("mapping", "schema", "--output", str(schema)).code == Exit.DONE

    assert printed == (folder / "defaults.toml").read_text()
    assert run("mapping", "schema").out == schema.read_text() == (folder / "mapping.schema.json").read_text()
    assert run("mapping", "show", "--defaults", "--json").document["version"] == 1
    assert run("mapping", "show", "--defaults", "--data").code == Exit.UNUSABLE


def test_a_schema_that_cannot_be_written_is_a_mistake_in_the_command_line(tmp_path: Path) -> None:
    for to in (tmp_path, tmp_path / "none" / "schema.json"):
        ended = run("mapping", "schema", "--output", str(to))

        assert ended.code == Exit.UNUSABLE
        assert "cannot be written" in ended.err


# show --data


def test_data_names_the_source_by_its_fingerprint_and_region_and_never_the_key(file: Path) -> None:
    settings = {"SEGMENT_WRITE_KEY": "canary-write-key", "SEGMENT_REGION": "eu"}

    ended = run("mapping", "show", str(file), "--data", settings=settings)
    document = run("mapping", "show", str(file), "--data", "--json", settings=settings).document

    assert "canary-write-key" not in ended.said + json.dumps(document)
    assert document["source"] == {
        "write_key_fingerprint": rules_by(settings).identify.source,
        "region": "eu",
        "host": "https://events.eu1.segmentapis.com",
    }
    assert f"write key with the fingerprint {document['source']['write_key_fingerprint']}, region eu" in ended.said
    assert "only with consent for Advertising" in ended.said
    assert "SEGMENT_WRITE_KEY is not set" in run("mapping", "show", "--data").said


def test_data_has_every_field_whose_value_is_in_the_event_and_where(file: Path) -> None:
    settings = {"SEGMENT_USER_ID": "key", "MAPPING_FILE": str(file)}
    document = run("mapping", "show", "--data", "--json", settings=settings).document
    fields = {row["field"]: row["places"] for row in document["fields"]}
    tell = teller(rules_by(settings).identify)
    address = an_address(custom={"type": {}, "fields": {"floor": "3"}})
    customer = a_buyer(addresses=[address])
    said = tell(customer).said

    def changes_the_event(**changes: object) -> bool:
        return tell(customer | changes).said != said

    other = {"id": "another-id", "version": 4, "customerGroup": {"typeId": "customer-group", "id": "another"}}
    changing = {name for name in customer if changes_the_event(**{name: other.get(name)})}
    changing_address = {name for name in address if changes_the_event(addresses=[address | {name: None}])}

    of_address = {name.removeprefix("addresses.") for name in fields if name.startswith("addresses.")}
    assert changing - {"addresses", "custom"} == {name for name in fields if "." not in name}
    behind_others = {"phone", "region", "company"}  # of mobile, state and companyName, which this customer has
    assert (changing_address - {"custom"}) | behind_others == of_address & address.keys()
    assert fields["key"] == ["userId"]
    assert fields["externalId"] == ["traits.externalId", "context.externalIds, type crm_id"]
    assert fields["locale"] == ["context.locale"]
    assert fields["firstName"] == ["traits.firstName", "traits.name"]
    assert fields["custom.fields.anonymous"] == ["anonymousId"]
    assert fields["custom.fields.ads"] == ["context.consent, category Advertising"]
    assert fields["custom.fields.points"] == ["traits.points", "traits.vip"]
    assert fields["addresses.custom.fields.floor"] == ["traits.address.floor"]


# test


def test_an_expectation_is_the_event_of_explain_without_what_differs_by_run(examples: Path, file: Path) -> None:
    settings = rules_by({"MAPPING_FILE": str(file), "SEGMENT_USER_ID": "id"}).settings
    event = explained(json.dumps(a_message(customer=a_buyer())).encode(), settings, read=False).event
    assert event is not None

    ended = run_test(examples, file)

    assert ended.code == Exit.DONE, ended.said
    assert "ok mira.json" in ended.said
    assert "1 example: 1 ok." in ended.said
    assert expectation(examples) == comparable(event)
    assert list(expectation(examples)) == ["userId", "anonymousId", "traits", "context"]
    assert expectation(examples)["context"].keys() == {"active", "locale", "externalIds", "consent"}


def test_an_event_as_explain_shows_it_is_an_expectation_too(examples: Path, file: Path) -> None:
    context = expectation(examples)["context"] | {"library": {"name": "analytics-python", "version": "0"}}
    pasted = expectation(examples) | {"messageId": "m", "type": "identify", "integrations": {}, "context": context}
    write(examples, mira__identify=pasted)

    assert run_test(examples, file).code == Exit.DONE


def test_each_difference_has_what_was_expected_what_was_got_and_the_line_of_the_rule(
    examples: Path, file: Path
) -> None:
    expected = expectation(examples)
    expected["traits"] |= {"points": "5", "birthday": "1990-11-12", "shoes": 38, "loyaltyLevel": "gold"}
    expected["traits"]["address"]["floor"] = "3"
    expected["context"]["consent"]["categoryPreferences"]["Advertising"] = False
    expected["userId"] = "another"
    del expected["traits"]["newsletter"]
    write(examples, mira__identify=expected)

    ended = run_test(examples, file)
    document = run_test(examples, file, "--json").document

    assert ended.code == Exit.ATTENTION
    for words in (
        "differs mira.json",
        'points "5" 5 mapping.toml:8',
        'birthday "1990-11-12" absent mapping.toml:3',
        "shoes 38 absent no rule",
        'loyaltyLevel "gold" null mapping.toml:4',
        'address.floor "3" absent mapping.toml:10',
        "newsletter absent true mapping.toml:9",
        "consent Advertising false true mapping.toml:15",
        f'userId "another" "{CUSTOMER_ID}" SEGMENT_USER_ID',
        "1 example: 1 differs.",
    ):
        assert words in ended.said, ended.said
    assert {"place": "traits.points", "expected": "5", "got": 5, "line": "mapping.toml:8"} in document["results"][0][
        "differences"
    ]
    assert {"place": "traits.newsletter", "got": True, "line": "mapping.toml:9"} in document["results"][0][
        "differences"
    ]


def test_a_field_of_another_kind_than_the_rule_says_is_told(examples: Path, file: Path) -> None:
    write(examples, mira=a_buyer(CUSTOM | {"points": "many"}))

    assert "points 5 absent mapping.toml:8; the field is of another kind" in run_test(examples, file).said


def test_a_number_is_the_same_however_it_is_written_and_is_no_boolean(examples: Path, file: Path) -> None:
    expected = expectation(examples)
    expected["traits"]["points"] = 5.0
    write(examples, mira__identify=expected)
    assert run_test(examples, file).code == Exit.DONE

    expected["traits"]["newsletter"] = 1
    write(examples, mira__identify=expected)
    assert "newsletter 1 true" in run_test(examples, file).said


@pytest.mark.parametrize(
    ("customer", "said"),
    [
        pytest.param(a_buyer({}), {"ignored": "no consent for Advertising"}, id="without consent"),
        pytest.param(
            a_buyer(firstName=7), {"refused": "the customer is not valid: firstName: Not a valid string"}, id="invalid"
        ),
        pytest.param(
            a_buyer(companyName="x" * 40_000), {"refused": "the event is larger than Segment's 32 KiB"}, id="too large"
        ),
    ],
)
def test_where_nothing_is_sent_the_expectation_is_the_reason(
    customer: dict[str, Any], said: dict[str, str], examples: Path, file: Path
) -> None:
    write(examples, mira=customer)

    ended = run_test(examples, file)
    [reason] = [f"{key}: {value}" for key, value in said.items()]
    assert (ended.code, f'event "identify" "{reason}"' in ended.said) == (Exit.ATTENTION, True), ended.said

    assert run_test(examples, file, "--update").code == Exit.DONE
    assert expectation(examples) == said
    assert run_test(examples, file).code == Exit.DONE


def test_a_missing_expectation_fails_and_update_writes_it_with_a_warning(examples: Path, file: Path) -> None:
    write(examples, otto={"results": [a_buyer(id="otto")]})

    ended = run_test(examples, file)
    assert ended.code == Exit.ATTENTION
    assert "missing otto.json: there is no otto.identify.json: --update writes it" in ended.said

    ended = run_test(examples, file, "--update")
    assert ended.code == Exit.DONE
    assert "2 examples: 1 ok, 1 written." in ended.said
    assert "It must hold no real customer" in ended.err
    umask = os.umask(0)
    os.umask(umask)
    assert (examples / "otto.identify.json").stat().st_mode & 0o777 == 0o666 & ~umask
    assert "2 examples: 2 ok." in run_test(examples, file).said


def test_an_expectation_without_its_customer_fails(examples: Path, file: Path) -> None:
    (examples / "mira.json").rename(examples / "maria.json")

    ended = run_test(examples, file, "--update")

    assert ended.code == Exit.ATTENTION
    assert "unused mira.identify.json: there is no mira.json beside it" in ended.said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b'{\n"id": "a"\n"b"}', "odd.json:3: this is not JSON: ", id="no comma"),
        pytest.param(b'{\n"id": "\xff"}', "odd.json:2: this is not JSON: the line is not UTF-8", id="not UTF-8"),
        pytest.param(b"[1]", "odd.json: this is not a JSON object", id="an array"),
        pytest.param(b"", "odd.json:1: this is not JSON", id="empty"),
        pytest.param(b'{"id": NaN}', "odd.json: this is not JSON", id="a NaN"),
        pytest.param(b'{"a":' * 500 + b"1" + b"}" * 500, "odd.json: this is nested too deeply", id="500 levels"),
        pytest.param(b"[" * 100_000, "odd.json: this is nested too deeply", id="deep"),
        pytest.param(b"\x00\xf0" * 5_000_000, "odd.json", id="10 MB of garbage"),
        pytest.param(b'{"a": "' + b"x" * 10_000_000 + b'"}', "odd.json: there is no customer in it", id="10 MB"),
        pytest.param(json.dumps(a_message()).encode(), "odd.json: there is no customer in it", id="a notification"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line_and_the_rest_is_tested(
    content: bytes, reason: str, examples: Path, file: Path
) -> None:
    write(examples, odd=content)

    ended = run_test(examples, file)

    assert ended.code == Exit.UNUSABLE
    assert f"unreadable odd.json: {reason}" in ended.said or reason in ended.said
    assert "ok mira.json" in ended.said


def test_a_folder_or_a_pipe_with_the_name_of_an_example_is_no_file(examples: Path, file: Path) -> None:
    (examples / "folder.json").mkdir()
    os.mkfifo(examples / "pipe.json")
    (examples / "gone.json").symlink_to("nowhere")

    ended = run_test(examples, file)

    assert ended.code == Exit.UNUSABLE
    assert "folder.json is no file" in ended.said
    assert "pipe.json is no file" in ended.said
    assert "gone.json cannot be read: No such file or directory" in ended.said


def test_a_broken_expectation_is_named_with_its_line(examples: Path, file: Path) -> None:
    write(examples, mira__identify=b'{"traits": {},\n "userId" 5}')

    ended = run_test(examples, file)

    assert ended.code == Exit.UNUSABLE
    assert "mira.identify.json:2: this is not JSON: expecting" in ended.said


def test_nothing_to_test_is_a_mistake_in_the_command_line(tmp_path: Path, file: Path) -> None:
    (tmp_path / "empty").mkdir()

    for folder, reason in (
        (tmp_path / "empty", "There is nothing to test"),
        (tmp_path / "none", "No such file or directory"),
        (file, "Not a directory"),
    ):
        ended = run_test(folder, file)
        assert (ended.code, reason in ended.err) == (Exit.UNUSABLE, True), ended.err


# diff


def diff(file: Path, *files: str, given: str | bytes = b"", new: str = ANOTHER, options: Sequence[str] = ()) -> Ended:
    (file.parent / "new.toml").write_text(new)
    new_file = str(file.parent / "new.toml")
    return run("mapping", "diff", str(file), new_file, *files, *options, given=given, settings={"COLUMNS": "200"})


def test_diff_of_two_files_shows_which_rules_are_added_removed_and_changed(file: Path) -> None:
    new = ANOTHER.replace("value = true", "value = false").replace("[identify]", '[identify]\non = ["created"]')

    ended = diff(file, new=new)

    assert ended.code == Exit.ATTENTION
    for words in (
        "points changed custom.points; as number custom.points; as text new.toml:9",
        "newsletter removed custom.newsletter; as boolean; default false mapping.toml:9",
        "letters added custom.letters; as boolean; default false new.toml:10",
        "excluded birthday removed",
        "birthday added dateOfBirth built-in",
        "consent Functional changed value true value false new.toml:17",
        "identify.on changed created, updated created new.toml:3",
    ):
        assert words in ended.said, ended.said


def test_diff_of_rules_with_the_same_effect_finds_nothing(file: Path) -> None:
    again = MAPPING.replace("as =", "as  =").replace("version = 1", "version = 1 # the same")

    ended = diff(file, new=again)

    assert (ended.code, ended.said) == (Exit.DONE, "The rules are the same.")
    assert diff(file, new=again, options=["--json"]).document["changes"] == []
    assert diff(file, "-", new=again, given=json.dumps(a_buyer())).code == Exit.DONE


def test_diff_for_customers_shows_what_appears_vanishes_changes_and_becomes_null(file: Path, tmp_path: Path) -> None:
    new = ANOTHER.replace("loyaltyLevel", "loyalty").replace("[identify.traits]", '[identify.traits]\nname = "id"')
    new = new.replace('expr = "custom.points > `1000`"', 'from = "custom.vip"')
    write(tmp_path, mira=a_buyer())

    ended = diff(file, str(tmp_path / "mira.json"), new=new)
    document = diff(file, str(tmp_path / "mira.json"), new=new, options=["--json"]).document

    assert ended.code == Exit.ATTENTION
    for words in (
        CUSTOMER_ID,
        'points changes 5 "5"',
        "newsletter vanishes true absent",
        "letters appears absent false",
        'birthday appears absent "1990-11-12"',
        "loyalty becomes null absent null",
        "vip becomes null false null",
        "loyaltyLevel vanishes null absent",
        f'name changes "Mira Example" "{CUSTOMER_ID}"',
        "Customers: 1, with a difference: 1, sent by the old rules: 1, by the new ones: 1.",
    ):
        assert words in ended.said, ended.said
    assert document["counts"]["traits.points"] == {"changes": 1}
    assert {"change": "appears", "place": "traits.letters", "new": False} in document["results"][0]["changes"]


def test_diff_reads_lines_api_answers_and_standard_input_and_counts(file: Path, tmp_path: Path) -> None:
    lines = tmp_path / "customers.jsonl"
    lines.write_text("".join(json.dumps(a_buyer(id=f"c{number}")) + "\n\n" for number in range(3)))
    write(tmp_path, answer={"results": [a_buyer(id="a"), a_buyer({}, id="b")]})

    ended = diff(file, str(lines), str(tmp_path / "answer.json"), "-", given=lines.read_text())

    assert ended.code == Exit.ATTENTION
    assert "Customers: 8, with a difference: 7, sent by the old rules: 7, by the new ones: 7." in ended.said
    assert "points · · 7 ·" in ended.said


def test_diff_says_for_whom_nothing_is_sent_any_more(file: Path) -> None:
    new = MAPPING.replace('Advertising = "custom.ads"', 'Advertising = "custom.agreed"')

    ended = diff(file, "-", new=new, given=json.dumps(a_buyer()))

    assert 'event changes "identify" "ignored: no consent for Advertising"' in ended.said


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "standard input:1: this is not JSON"),
        (b"{}\n{,}", "standard input:1: there is no customer in it"),
        (json.dumps(a_customer()).encode() + b"\n{,}\n", "standard input:2: this is not JSON"),
        (b"\xff\xfe\xff", "standard input"),
        (b"[]", "standard input: this is not a JSON object"),
    ],
)
def test_diff_names_the_line_that_is_no_customer(given: bytes, reason: str, file: Path) -> None:
    ended = diff(file, "-", given=given)

    assert ended.code == Exit.UNUSABLE
    assert reason in ended.err


def test_diff_names_a_file_that_cannot_be_read(file: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()

    for name, reason in (("none.json", "No such file"), ("none.jsonl", "No such file"), ("folder.jsonl", "directory")):
        ended = diff(file, str(tmp_path / name))
        assert (ended.code, f"{name} cannot be read: " in ended.err, reason in ended.err) == (2, True, True), ended.err


def test_diff_tells_the_mistakes_of_both_files_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name / "mapping.toml" for name in ("old", "new")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(MISTAKEN)

    ended = run("mapping", "diff", *map(str, paths))

    assert ended.code == Exit.UNUSABLE
    for path in paths:
        assert f"{path}:3: identify.default is no setting; did you mean defaults?" in ended.err
        assert f"{path}:5: identify.traits.points.from cannot be sent: password." in ended.err


# All


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (MISTAKEN.encode(), "mapping.toml:5: identify.traits.points.from cannot be sent: password."),
        (b"version = \n", "mapping.toml:1: this is not TOML"),
        (b"version = 1\n# \xff", "mapping.toml:2: this line is not UTF-8."),
        (b"\x00" * 10_000_000, "mapping.toml is larger than 256 KiB."),
        (None, "mapping.toml is a folder, not a file."),
    ],
)
def test_a_mapping_file_that_cannot_be_used_ends_every_command_with_its_mistakes(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mapping.toml"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (tmp_path / "examples").mkdir()

    for ended in (
        run("mapping", "show", str(path)),
        run("mapping", "show", "--data", settings={"MAPPING_FILE": str(path)}),
        run_test(tmp_path / "examples", path),
        run("mapping", "diff", str(path), str(path)),
    ):
        assert (ended.code, reason in ended.err, ended.out) == (Exit.UNUSABLE, True, ""), ended.err


def test_a_setting_that_will_not_do_ends_with_its_sentence(file: Path) -> None:
    ended = run("mapping", "show", str(file), settings={"SEGMENT_CLEAR_TRAITS": "some"})

    assert (ended.code, ended.err) == (Exit.UNUSABLE, "Error: SEGMENT_CLEAR_TRAITS must be one of off, own, all.\n")


def test_a_file_that_is_given_stands_in_for_that_of_the_setting_whatever_its_name(file: Path) -> None:
    odd = file.rename(file.parent / "our mapping ü.toml")

    ended = run("mapping", "show", str(odd), settings={"MAPPING_FILE": "/nowhere.toml"})

    assert ended.code == Exit.DONE, ended.err
    assert "our mapping ü.toml:8" in ended.said


def test_a_withdrawal_that_is_suppressed_needs_no_token_here(file: Path) -> None:
    file.write_text(MAPPING.replace("[consent]", '[consent]\nwithdrawn = "suppress"'))

    ended = run("mapping", "show", str(file), "--data", "--json")

    assert ended.document["public_api"] == "https://api.segmentapis.com"


def test_half_of_a_surrogate_pair_is_written_and_compared(examples: Path, file: Path) -> None:
    write(examples, mira=a_buyer(firstName="Zo\ud83d"))

    assert run_test(examples, file, "--update").code == Exit.DONE
    assert expectation(examples)["traits"]["firstName"] == "Zo\ud83d"
    assert run_test(examples, file).code == Exit.DONE
    assert (
        r"Zo\ud83d"
        in diff(
            file,
            str(examples / "mira.json"),
            new=MAPPING.replace("[identify.traits]", "[identify.traits]\nx = 'firstName'"),
        ).said
    )


@pytest.mark.parametrize("levels", [101, 950, 975, 980, 10_000])
def test_json_in_a_custom_field_that_is_nested_too_deeply_is_unreadable(levels: int) -> None:
    text = '{"a":' * levels + "1" + "}" * levels
    file = toml_of(b'version = 1\n[identify.traits]\nform = { from = "custom.form", as = "json" }', "mapping.toml")
    rules = IdentifyRules(mapping=shop_mapping(file))

    told = teller(rules)(a_buyer({"form": text}))

    assert told.unreadable == ("form",)
    assert "form" not in told.said["traits"]


@pytest.mark.parametrize("command", ["show", "test", "diff", "schema"])
def test_each_command_has_its_help(command: str) -> None:
    ended = run("mapping", command, "--help")

    assert ended.code == Exit.DONE
    assert "Usage: " in ended.said
    assert "Exit codes" not in ended.said, "they are in the help of the whole"


def test_the_page_shows_what_the_commands_really_say(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "cli.md").read_text().partition("\n## mapping\n")[2].partition("\n## ")[0]
    toml, customer, *shown = re.findall(r"^```[a-z]*\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    settings = {"MAPPING_FILE": "mapping.toml", "SEGMENT_USER_ID": "id", "COLUMNS": "110"}
    (tmp_path / "examples").mkdir()
    (tmp_path / "mapping.toml").write_text(toml)
    (tmp_path / "new.toml").write_text(toml.replace("default = false", "default = true"))
    (tmp_path / "examples" / "mira.json").write_text(customer)

    def said(*arguments: str) -> str:
        ended = run("mapping", *arguments, settings=settings, cwd=tmp_path)
        return "\n".join(line.rstrip() for line in ended.out.splitlines()) + "\n"

    said("test", "examples", "--update")
    (tmp_path / "examples" / "mira.json").write_text(customer.replace('"points": 5', '"points": 6'))

    rules, failed, changed, of_customers = shown
    assert [line for line in said("show").splitlines() if line in rules.splitlines()] == rules.replace(
        "…\n", ""
    ).splitlines()
    assert said("test", "examples") == failed
    assert said("diff", "mapping.toml", "new.toml") == changed
    assert said("diff", "mapping.toml", "new.toml", "examples/mira.json") == of_customers
