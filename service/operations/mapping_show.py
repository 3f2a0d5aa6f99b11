"""mapping show and mapping schema: every rule, which fields leave the shop by it, and two files of the package."""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from service.config import Erasure, Orders, UserIdField
from service.operations import Exit, Output, plain
from service.operations.mapping import BUILT_IN, Rules, rules_by, table_of, write
from service.serving.toml_file import toml_of
from service.transformation.consent import Consent, Withdrawn
from service.transformation.mapping import OrderMapping
from service.transformation.paths import Path as Field
from service.transformation.rule import Rule


def run(output: Output, environment: Mapping[str, str], path: Path | None, *, data: bool) -> Exit:
    """Show the rules, or with `data` which fields leave the shop. Raises ConfigError."""
    if data:
        environment.get("SEGMENT_WRITE_KEY")  # its fingerprint is shown, so it is fetched
    rules = rules_by(environment, path)
    shown = _data(rules) if data else _rules(rules)
    if output.as_json:
        output.document({**rules.document, **shown.document})
        return Exit.DONE
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in shown.facts:
        facts.add_row(Text(name, "bold"), Text(plain(value)))
    output.table(facts)
    output.results.print()
    output.table(shown.table)
    return Exit.DONE


def run_defaults(output: Output) -> Exit:
    """Show the built-in mapping, as the file that it is."""
    text = packaged("defaults.toml")
    if output.as_json:
        output.document(toml_of(text.encode(), "defaults.toml").values)
    else:
        _print_as_it_is(output, text)
    return Exit.DONE


def run_schema(output: Output, to: Path | None) -> Exit:
    """Print the JSON Schema of a mapping file, or write it to a file. Raises Trouble if that cannot be written."""
    text = packaged("mapping.schema.json")
    if to is None:
        _print_as_it_is(output, text)
    else:
        write(to, text)
        output.remark(f"Wrote {to}.")
    return Exit.DONE


def packaged(name: str) -> str:
    """Return a text of the package: defaults.toml, or mapping.schema.json."""
    return files("service.transformation").joinpath(name).read_text("utf-8")


def _print_as_it_is(output: Output, text: str) -> None:
    output.results.print(text, markup=False, highlight=False, soft_wrap=True, end="")


# The rules


class Row(NamedTuple):
    """One rule: what it is about, its name, what decides it, what is sent where that is absent, and what it reads.

    `what` is trait, retired, excluded, anonymousId, externalId, consent or setting. `rule` is JSON: that of
    Rule.effective, or the value of a setting.
    """

    what: str
    name: str
    rule: Any
    absent: str
    line: str
    paths: Sequence[Field] = ()

    @property
    def place(self) -> str:
        return self.name if self.what in {"trait", "setting"} else f"{self.what} {self.name}".strip()

    @property
    def in_words(self) -> str:
        """What the rule says, in words near to those of the file."""
        if self.rule is None:
            return ""
        if isinstance(self.rule, Mapping):
            return "; ".join(_in_words(key, value) for key, value in self.rule.items())
        return ", ".join(self.rule) if isinstance(self.rule, list) else _shown(self.rule)

    @property
    def document(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "name": self.name,
            "rule": self.rule,
            "absent": self.absent or None,
            "line": self.line,
        }


def _in_words(key: str, value: Any) -> str:  # noqa: ANN401  # any JSON
    match key:
        case "from":
            return ", else ".join(value)
        case "expr":
            return f"expr {value}"
        case "values":
            return "values " + ", ".join(f"{name} = {_shown(one)}" for name, one in value.items())
        case "locales":
            return f"locales {', '.join(value)}"
    return f"{key} {_shown(value)}"


def _shown(value: object) -> str:
    is_word = isinstance(value, str) and value.isidentifier()
    return str(value) if is_word else json.dumps(value, ensure_ascii=False)


def rows_of(rules: Rules) -> Iterator[Row]:
    """Return every rule, in the order of the event."""
    identify = rules.mapping.identify
    yield Row("setting", "identify.on", sorted(identify.on), "", rules.line("identify", "on"))
    for trait in identify.traits:
        empty = "null" if trait.cleared_by(rules.identify.clear) else "not sent"
        for part, rule in trait.parts.items():
            is_never_absent = rule.value is not None or rule.default is not None
            name = f"{trait.name}.{part}" if part else trait.name
            yield _row("trait", name, rule, "" if is_never_absent else empty, rules)
    for name in identify.retired:
        yield Row("retired", name, None, "null", rules.line("identify", "retired"))
    for name in identify.excluded:
        yield Row("excluded", name, None, "not sent", rules.line("identify", "exclude"))
    if identify.anonymous_id is not None:
        yield _row("anonymousId", "", identify.anonymous_id, "not sent", rules)
    for kind, rule in identify.external_ids.items():
        yield _row("externalId", kind, rule, "not sent", rules)
    if rules.mapping.consent is not None:
        yield from _rows_of_consent(rules.mapping.consent, rules)
    order = rules.mapping.order
    field = order.anonymous_id and {"from": [f"custom.{order.anonymous_id}"]}
    for key, value in (("anonymous_id", field), ("locale", order.locale), ("product_url", order.product_url)):
        if value is not None:
            yield Row("setting", f"order.{key}", value, "", rules.line("order", key))


def _rows_of_consent(consent: Consent, rules: Rules) -> Iterator[Row]:
    unknown = str(consent.unknown).lower()
    for name, own in (consent.categories or {"": None}).items():
        rule = own or consent.document
        if rule is not None:
            yield _row("consent", name, rule, unknown if name and rule.value is None else "", rules)
    for key, value in (
        ("unknown", consent.unknown),
        ("send", list(consent.send) or "always"),
        ("withdrawn", consent.withdrawn),
        ("event", consent.event),
    ):
        yield Row("setting", f"consent.{key}", value, "", rules.line("consent", key))


def _row(what: str, name: str, rule: Rule, absent: str, rules: Rules) -> Row:
    return Row(what, name, rule.effective, absent, rules.line_of(rule), rule.all_paths)


class _Shown(NamedTuple):
    """What is shown: as JSON, and as facts above a table."""

    document: Mapping[str, Any]
    facts: Sequence[tuple[str, str]]
    table: Table


def _rules(rules: Rules) -> _Shown:
    rows = list(rows_of(rules))
    facts = [
        _name(rules),
        ("userId", f"{rules.identify.user_id} (SEGMENT_USER_ID)"),
        ("absent", f"{rules.identify.clear} (SEGMENT_CLEAR_TRAITS)"),
        *_of_orders(rules),
    ]
    cells = ((row.place, row.in_words, row.absent, row.line) for row in rows)
    table = table_of(("trait", "rule", "absent", "line"), cells)
    return _Shown({"rules": [row.document for row in rows]}, facts, table)


def _of_orders(rules: Rules) -> list[tuple[str, str]]:
    if rules.settings.orders is Orders.ON:
        return [("orders", f"on (ORDERS), imports: {rules.settings.order_imports} (ORDER_IMPORTS)")]
    has_rules = rules.mapping.order != OrderMapping()
    return [("orders", "off (ORDERS): [order] has no effect")] if has_rules else []


def _name(rules: Rules) -> tuple[str, str]:
    return "rules", f"{rules.mapping.name or BUILT_IN}, fingerprint {rules.fingerprint}"


# --data


def _data(rules: Rules) -> _Shown:
    settings, consent, segment = rules.settings, rules.mapping.consent, rules.settings.segment
    project = settings.commercetools.project_key if settings.commercetools else None
    events = ["identify", *(["track: Segment Consent Preference Updated"] if consent and consent.event else [])]
    events += _ORDER_EVENTS if rules.settings.orders is Orders.ON else []
    needed = list(consent.send) if consent else []
    suppresses = consent is not None and consent.withdrawn is Withdrawn.SUPPRESS
    public_api = settings.segment_public_api_url if suppresses or settings.erasure is not Erasure.OFF else None
    leaving = _leaving(rules)
    document = {
        "source": {"write_key_fingerprint": rules.source, "region": segment.region, "host": segment.host},
        "public_api": public_api,
        "project": project,
        "events": events,
        "only_with_consent": needed,
        "fields": [{"field": field, "places": places} for field, places in leaving.items()],
    }
    key = f"write key with the fingerprint {rules.source}" if rules.source else "SEGMENT_WRITE_KEY is not set"
    facts = [
        ("source", f"{key}, region {segment.region}, {segment.host}"),
        ("project", "CTP_PROJECT_KEY is not set" if project is None else project),
        _name(rules),
        ("events", ", ".join(events)),
        ("sent", f"only with consent for {', '.join(needed)}" if needed else "always"),
    ]
    if public_api is not None:
        facts.append(("also", f"the user id, to erase or suppress it: {public_api}"))
    cells = ((field, "; ".join(places)) for field, places in leaving.items())
    return _Shown(document, facts, table_of(("commercetools' field", "place in Segment's event"), cells))


_PLACES = {
    "trait": "traits.{}",
    "anonymousId": "anonymousId",
    "externalId": "context.externalIds, type {}",
    "consent": "context.consent, category {}",
}


def _leaving(rules: Rules) -> dict[str, list[str]]:
    """Return where each field of a customer goes in Segment's events."""
    consent = rules.mapping.consent
    in_document = consent is not None and consent.document is not None
    leaving: dict[str, list[str]] = {str(rules.identify.user_id): ["userId"]}
    leaving.setdefault("locale", []).append("context.locale")
    for row in rows_of(rules):
        for path in row.paths:
            whole = row.what == "consent" and in_document
            place = "context.consent" if whole else _PLACES[row.what].format(row.name)
            for field in _fields_of(path):
                places = leaving.setdefault(field, [])
                if place not in places:
                    places.append(place)
    return leaving | (_leaving_of_orders(rules) if rules.settings.orders is Orders.ON else {})


_ORDER_EVENTS = [f"track: Order {what}" for what in ("Completed", "Updated", "Cancelled", "Refunded")]
# What there is of an order in properties, docs/orders.md.
_ORDER_FIELDS = {
    "id": "order_id",
    "orderNumber": "order_number",
    "cart.id": "checkout_id",
    "store.key": "affiliation",
    "discountCodes": "coupon",
    "totalPrice": "total, subtotal, revenue, currency",
    "taxedPrice": "total, subtotal, revenue, tax",
    "taxedShippingPrice": "shipping",
    "shippingInfo": "shipping, discount",
    "shipping": "shipping, discount",
    "discountOnTotalPrice": "discount",
    "lineItems": "products, discount",
    "customLineItems": "products, discount",
    "orderState": "order_state",
    "paymentState": "payment_state",
    "shipmentState": "shipment_state",
}


def _leaving_of_orders(rules: Rules) -> dict[str, list[str]]:
    """Return where each field of an order and a payment goes in Segment's events."""
    user_id = rules.identify.user_id
    leaving = {
        "order.customerEmail": [*(["userId"] if user_id is UserIdField.EMAIL else []), "context.traits.email"],
        "order.customerId": ["userId"] if user_id is UserIdField.ID else [],
        "order.anonymousId": ["anonymousId, without a userId"],
        "order.locale": ["context.locale"],
    }
    if rules.mapping.order.anonymous_id:
        leaving[f"order.custom.fields.{rules.mapping.order.anonymous_id}"] = ["anonymousId"]
    leaving |= {f"order.{field}": [f"properties: {places}"] for field, places in _ORDER_FIELDS.items()}
    leaving["payment.transactions"] = ["properties: refund_id, total, currency"]
    return {field: places for field, places in leaving.items() if places}


_COMPUTED = {
    "name": ("firstName", "lastName"),
    "street": ("streetName", "streetNumber", "apartment", "building", "additionalStreetInfo", "pOBox"),
    "customerGroup": ("customerGroup", "customerGroupAssignments"),
    "customerGroups": ("customerGroupAssignments",),
}


def _fields_of(path: Field) -> Sequence[str]:
    """Return the fields of commercetools' customer that a path sends, such as addresses.city and custom.fields.points.

    Of a path below customerGroup, they are fields of the customer group.
    """
    first, _, rest = path.text.partition(".")
    name = f"custom.fields.{path.custom}" if path.custom else path.text if path.of == "customer" else rest
    if path.of == "customer-group":
        return [f"{first}.{name}"]
    names = _COMPUTED.get(name, (name,))
    return [f"addresses.{each}" for each in names] if path.of == "address" else names
