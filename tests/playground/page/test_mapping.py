"""The mapping editor: mistakes at their lines, what a text changes, and the service with it."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from playground.page.mapping import Instance, MappingEditor, NotValid, routes_of
from playground.page.mapping_examples import START, examples
from playground.shop import Shop
from playground.world import SUBSCRIPTION, LocalWorld
from tests.playground.page.environment import API_CLIENT, SETTINGS

TAX = 'version = 1\n[identify.traits]\ntaxNumber = "vatId"\n'


class FakeInstance:
    """An instance that starts unless its mapping file contains the word `refused`."""

    def __init__(self, *, is_running: bool = True) -> None:
        self.is_running = is_running
        self.has_ended = False
        self.lines: list[Mapping[str, Any]] = [{"message": "Started, with the rules of before"}]
        self.environment: Mapping[str, str] = {}
        self.deeds: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def start(self) -> None:
        self.meanwhile()
        self.deeds.append(f"started with {self.mapping or 'no file'}")
        self.is_running = True
        self.has_ended = "refused" in self.mapping
        self.lines.append({"message": "No such mapping." if self.has_ended else "Started, with the rules 0123"})

    def stop(self) -> int:
        self.deeds.append("stopped")
        self.is_running = self.has_ended = False
        return 0

    @property
    def mapping(self) -> str:
        path = self.environment.get("MAPPING_FILE")
        return Path(path).read_text() if path else ""


class FakeWorld:
    """A shop, settings, and instances that record."""

    def __init__(self, *services: FakeInstance, **settings: str) -> None:
        self.instances = services
        self.services: list[Instance] = [*services]
        self.shop = Shop(population=30, seed=2)
        self.environment = {**SETTINGS, **settings}

    def settings(self) -> dict[str, str]:
        return self.environment

    def configure(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        for instance in self.instances:
            instance.environment = environment


class FakeJudge:
    def __init__(self) -> None:
        self.told: list[str] = []

    def rules_changed(self, *, built_in: bool) -> None:
        self.told.append("built-in" if built_in else "the shop's own")


@pytest.fixture
def instance() -> FakeInstance:
    return FakeInstance()


@pytest.fixture
def world(instance: FakeInstance) -> FakeWorld:
    return FakeWorld(instance)


@pytest.fixture
def judge() -> FakeJudge:
    return FakeJudge()


@pytest.fixture
def editor(world: FakeWorld, judge: FakeJudge, tmp_path: Path) -> MappingEditor:
    return MappingEditor(world, judge, tmp_path)


@pytest.fixture
def api(editor: MappingEditor) -> FlaskClient:
    app = Flask(__name__)
    app.register_blueprint(routes_of(editor))
    return app.test_client()


def mistakes_of(editor: MappingEditor, text: str) -> list[tuple[int | None, int | None, str]]:
    with pytest.raises(NotValid) as raised:
        editor.check(text)
    return [(one.line, one.column, one.text) for one in raised.value.mistakes]


def test_every_mistake_is_told_at_its_line(editor: MappingEditor) -> None:
    text = (
        'version = 1\n[identify]\ndefault = true\nexclude = ["birthdy"]\n[identify.traits]\npoints = { as = "numbr" }\n'
    )

    lines, columns, texts = zip(*mistakes_of(editor, text), strict=True)

    assert lines == (3, 4, 6, 6)
    assert set(columns) == {None}
    assert texts[0] == "identify.default is no setting; did you mean defaults?"


def test_a_fault_of_syntax_is_told_at_its_line_and_column(editor: MappingEditor) -> None:
    assert mistakes_of(editor, "version = 1\nthis is wrong\n") == [
        (2, 6, "This is not TOML: Expected '=' after a key in a key/value pair (column 6).")
    ]


def test_what_is_seen_at_the_end_of_the_file_is_told_at_its_last_line(editor: MappingEditor) -> None:
    [(line, _, text)] = mistakes_of(editor, 'version = 1\n[identify]\nlocales = ["en"')

    assert (line, text[:20]) == (3, "The file is not TOML")


def test_a_file_of_more_than_256_kib_is_refused_with_a_sentence(editor: MappingEditor) -> None:
    assert mistakes_of(editor, "#" * 256 * 1024 + "\n") == [(None, None, "The file is larger than 256 KiB.")]


def test_half_of_a_surrogate_pair_is_a_mistake_of_its_line(editor: MappingEditor) -> None:
    assert mistakes_of(editor, "version = 1\n# \ud800\n") == [(2, None, "This line is not UTF-8.")]


@pytest.mark.parametrize("example", examples(), ids=lambda one: one.name)
def test_every_text_that_is_offered_is_valid(editor: MappingEditor, example: Any) -> None:  # noqa: ANN401  # an Example
    assert editor.check(example.text).mapping.name == "mapping.toml"


def test_a_trait_that_the_text_adds_is_marked(editor: MappingEditor, world: FakeWorld) -> None:
    customer = world.shop.create(vatId="DE1", firstName="Mira")

    found = editor.compare(TAX, [customer["id"]])

    [compared] = found["customers"]
    assert (compared["email"], compared["name"]) == (customer["email"], "Mira")
    changed = [row for row in compared["rows"] if row["change"]]
    assert changed == [{"place": "taxNumber", "before": "absent", "after": '"DE1"', "change": "appears"}]
    assert {"place": "firstName", "before": '"Mira"', "after": '"Mira"', "change": ""} in compared["rows"]
    assert found["order"] is None


def test_a_part_of_a_trait_is_compared_by_itself(editor: MappingEditor, world: FakeWorld) -> None:
    customer = world.shop.create(vatId="DE1", companyName="Mira GmbH")

    [compared] = editor.compare(START, [customer["id"]])["customers"]

    assert {row["place"]: row["change"] for row in compared["rows"] if row["place"].startswith("company.")} == {
        "company.name": "",
        "company.vatId": "appears",
    }


def test_a_group_is_shown_by_its_key_as_the_service_reads_it(editor: MappingEditor, world: FakeWorld) -> None:
    vip = next(group["id"] for group in world.shop.groups.values() if group.get("key") == "vip")
    customer = world.shop.create(customerGroup={"typeId": "customer-group", "id": vip})

    [compared] = editor.compare(TAX, [customer["id"]])["customers"]

    assert [row["after"] for row in compared["rows"] if row["place"] == "customerGroup"] == ['"vip"']


def test_a_customer_of_whom_nothing_is_sent_any_more_has_one_difference(
    editor: MappingEditor, world: FakeWorld
) -> None:
    customer = world.shop.create()
    text = 'version = 1\n[consent]\nsend = ["Ads"]\n[consent.categories]\nAds = "custom.ads"\n'

    [compared] = editor.compare(text, [customer["id"]])["customers"]

    [row] = compared["rows"]
    assert (row["place"], row["before"], row["change"]) == ("event", '"identify"', "changes")
    assert "no consent for Ads" in row["after"]


def test_a_deleted_customer_is_told_as_gone(editor: MappingEditor, world: FakeWorld) -> None:
    customer = world.shop.create()
    world.shop.delete(customer["id"])

    assert editor.compare(TAX, [customer["id"]])["customers"] == [{"id": customer["id"], "gone": True}]


def test_order_settings_are_compared_with_the_newest_order(judge: FakeJudge, tmp_path: Path) -> None:
    world = FakeWorld(**API_CLIENT)
    editor = MappingEditor(world, judge, tmp_path)
    text = 'version = 1\n[order]\nproduct_url = "https://www.example.com/{sku}"\n'
    without = editor.compare(text, [])["order"]
    order = world.shop.sales.place(customerId=world.shop.create()["id"])

    compared = editor.compare(text, [])["order"]

    assert "no order yet" in without["why"]
    assert (compared["id"], compared["event"]) == (order["id"], "Order Completed")
    changed = {row["place"]: row["change"] for row in compared["rows"] if row["change"]}
    assert changed["products[0].url"] == "appears"
    assert {place.rpartition(".")[2] for place in changed} == {"url"}


def test_customers_are_found_by_a_part_of_their_address_and_by_their_id(
    editor: MappingEditor, world: FakeWorld
) -> None:
    customer = world.shop.create(email="Mira.Only@example.com", firstName="Mira", lastName="Muster")
    outline = {"id": customer["id"], "email": "Mira.Only@example.com", "name": "Mira Muster"}

    assert editor.customers("mira.only") == [outline]
    assert editor.customers(f" {customer['id']} ") == [outline]
    assert editor.customers("nobody at all") == []
    assert len(editor.customers("")) == 3
    assert len(editor.customers("example")) == 20


def test_an_empty_shop_has_no_customers_to_offer(judge: FakeJudge, tmp_path: Path) -> None:
    world = FakeWorld()
    world.shop = Shop()

    assert MappingEditor(world, judge, tmp_path).customers("") == []


def test_running_instances_restart_one_after_the_other_and_the_judge_is_told(judge: FakeJudge, tmp_path: Path) -> None:
    one, two, stopped = FakeInstance(), FakeInstance(), FakeInstance(is_running=False)
    world = FakeWorld(one, two, stopped, LOG_LEVEL="DEBUG")
    editor = MappingEditor(world, judge, tmp_path)

    said = editor.apply(TAX)

    assert one.deeds == two.deeds == ["stopped", f"started with {TAX}"]
    assert stopped.deeds == []
    assert stopped.mapping == TAX, "its next start has it"
    assert world.environment == {**SETTINGS, "LOG_LEVEL": "DEBUG", "MAPPING_FILE": str(tmp_path / "mapping.toml")}
    assert said.startswith("Each of the 2 instances has restarted")
    assert judge.told == ["the shop's own"]
    assert editor.state() == {"applied": editor.check(TAX).fingerprint, "built_in": False, "applying": False}


def test_the_built_in_mapping_comes_back(editor: MappingEditor, instance: FakeInstance, judge: FakeJudge) -> None:
    editor.apply(TAX)

    editor.apply_built_in()

    assert instance.deeds[-1] == "started with no file"
    assert judge.told == ["the shop's own", "built-in"]
    assert editor.state() == {"applied": "", "built_in": True, "applying": False}


def test_after_an_apply_a_text_is_compared_with_the_applied_one(editor: MappingEditor, world: FakeWorld) -> None:
    customer = world.shop.create(vatId="DE1")

    editor.apply(TAX)

    found = editor.compare(TAX, [customer["id"]])
    assert found["same"]
    assert not [row for row in found["customers"][0]["rows"] if row["change"]]


def test_a_text_with_a_mistake_is_not_applied(editor: MappingEditor, instance: FakeInstance) -> None:
    with pytest.raises(ValueError, match=r"^The file has a mistake, line 2: identify\.traits must be a table\.$"):
        editor.apply("version = 1\nidentify.traits = 1\n")

    assert instance.deeds == []


@pytest.mark.parametrize(("former", "back"), [(None, "no file"), (TAX, TAX)])
def test_the_former_mapping_is_back_if_the_service_does_not_start(
    editor: MappingEditor, instance: FakeInstance, judge: FakeJudge, former: str | None, back: str
) -> None:
    if former is not None:
        editor.apply(former)

    with pytest.raises(
        ValueError, match=r"did not start with this mapping, so the former mapping is back\. .*No such map"
    ):
        editor.apply(f"{TAX}# refused\n")

    assert instance.deeds[-3:] == [f"started with {TAX}# refused\n", "stopped", f"started with {back}"]
    assert instance.is_running
    assert judge.told[-1] == ("built-in" if former is None else "the shop's own")
    assert editor.state()["built_in"] is (former is None)
    assert editor.text == former


def test_a_file_that_cannot_be_written_changes_nothing(
    world: FakeWorld, judge: FakeJudge, instance: FakeInstance, tmp_path: Path
) -> None:
    editor = MappingEditor(world, judge, tmp_path / "gone")
    before = world.settings()

    with pytest.raises(ValueError, match=r"^The file cannot be written \(No such file or directory\): nothing was"):
        editor.apply(TAX)

    assert (editor.text, editor.state()["applying"]) == (None, False)
    assert (world.settings(), instance.deeds) == (before, [])


def test_a_second_apply_is_refused_while_one_runs(editor: MappingEditor, instance: FakeInstance) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go_on.wait(10)

    instance.meanwhile = wait
    applying = threading.Thread(target=editor.apply, args=(TAX,))
    applying.start()
    try:
        assert began.wait(10)
        assert editor.state()["applying"]
        with pytest.raises(ValueError, match="A mapping is being applied: wait"):
            editor.apply_built_in()
    finally:
        go_on.set()
        applying.join()
    assert not editor.state()["applying"]


def test_nothing_is_applied_after_the_end(editor: MappingEditor, instance: FakeInstance) -> None:
    editor.stop()

    with pytest.raises(ValueError, match="wait"):
        editor.apply(TAX)
    assert instance.deeds == []


def test_the_page_gets_mistakes_comparisons_and_texts(api: FlaskClient, world: FakeWorld) -> None:
    customer = world.shop.create(vatId="DE1")

    wrong = api.post("/mapping/check", json={"text": "version = 2\n"}).get_json()
    right = api.post("/mapping/check", json={"text": TAX, "customers": [customer["id"]]}).get_json()

    assert [one["line"] for one in wrong["mistakes"]] == [1]
    assert right["mistakes"] == []
    assert [one["id"] for one in right["customers"]] == [customer["id"]]
    assert api.post("/mapping/apply", json={"text": TAX}).get_json()["said"].startswith("The service has restarted")
    assert api.get("/mapping/texts").get_json()["applied"] == TAX
    assert api.post("/mapping/built-in", json={}).get_json()["said"].startswith("The service has restarted")
    assert len(api.get("/mapping/customers").get_json()["customers"]) == 3


def test_a_mapping_that_is_applied_changes_what_segment_gets_and_a_start_that_fails_is_told(
    judge: FakeJudge, tmp_path: Path
) -> None:
    with LocalWorld(speed=20) as world:
        editor = MappingEditor(world, judge, tmp_path)

        editor.apply(TAX)

        customer = world.shop.create(vatId="DE1")
        assert world.pubsub.wait_until_idle(60, SUBSCRIPTION)
        assert world.segment.profiles[customer["id"]]["taxNumber"] == "DE1"

        world.configure({**world.settings(), "SEGMENT_WRITE_KEY": ""})
        with pytest.raises(
            ValueError,
            match=r"(?s)and not with the former one either.*SEGMENT_WRITE_KEY",
        ):
            editor.apply_built_in()
        assert not editor.state()["built_in"]
        assert not world.service.is_running
