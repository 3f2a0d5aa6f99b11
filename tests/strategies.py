"""What hypothesis draws: customers, notifications and envelopes, as odd as they may come and still be what they are."""

import base64
import copy
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any, cast

from hypothesis import strategies as st

from service.transformation.paths import CUSTOMER_FIELDS
from service.transformation.values import As
from tests.builders import CUSTOMER_ID, SUBSCRIPTION, a_cloud_event

Json = dict[str, Any]

# No lone surrogates: what was valid UTF-8 on the wire has none. Those in \u escapes are in `odd_texts`.
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            " ",
            "\t\n",
            "\u00a0",
            "Zo\u00eb",
            "\u674e\u5c0f\u9f99",
            "\u0645\u062b\u0627\u0644",
            "\U0001f469\u200d\U0001f4bb",
            "\u202egnirts",
            "\x00",
            "A\x00nna",
            "\ufeffMira\u200b@Example.com",
            "Rene\u0301\u00ad",
            "x" * 300,
            "null",
            "0",
        ]
    ),
)
odd_texts = texts | st.sampled_from(["\ud800", "a\udfffb"])
instants = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001  # hypothesis wants naive bounds
    lambda instant: instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | odd_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
"""Anything that JSON can say."""

_ids = st.sampled_from(["a", "b", "c", "gone", ""]) | texts  # few, so that ids meet; "gone" dangles mostly


def _maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | value


def _with_any_of(fields: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]) -> Any:  # noqa: ANN401  # a strategy, to be mapped freely
    return st.fixed_dictionaries(required, optional={name: _maybe(value) for name, value in fields.items()})


addresses: st.SearchStrategy[Json] = _with_any_of(
    {
        "id": _ids,
        **dict.fromkeys(("streetName", "streetNumber", "postalCode", "city", "region", "state", "company"), odd_texts),
        **dict.fromkeys(("phone", "mobile", "apartment", "building"), odd_texts),
        **dict.fromkeys(("additionalStreetInfo", "pOBox", "fax"), odd_texts),
        "country": st.sampled_from(["DE", "US", "us", "GB", "UK", "FR", ""]) | texts,
    }
)

_group_references = _with_any_of({"id": texts, "key": texts, "obj": _with_any_of({"key": odd_texts})})

customers: st.SearchStrategy[Json] = _with_any_of(
    {
        **dict.fromkeys(("email", "key", "customerNumber", "externalId", "companyName"), odd_texts),
        **dict.fromkeys(("firstName", "middleName", "lastName", "title", "salutation", "locale"), odd_texts),
        "dateOfBirth": st.sampled_from(["1990-11-12", "0001-01-01"]) | odd_texts,
        "isEmailVerified": st.booleans(),
        "createdAt": instants,
        "lastModifiedAt": instants,
        "addresses": st.lists(addresses, max_size=4),
        "defaultBillingAddressId": _ids,
        "defaultShippingAddressId": _ids,
        "billingAddressIds": st.lists(_ids, max_size=3),
        "shippingAddressIds": st.lists(_ids, max_size=3),
        "customerGroup": _group_references,
        "customerGroupAssignments": st.lists(_with_any_of({"customerGroup": _group_references}), max_size=3),
        "stores": st.lists(_with_any_of({"key": odd_texts, "id": texts}), max_size=3),
        "password": st.just("canary-password"),
        "vatId": st.just("canary-vat"),
        "custom": json_values,
        "a-field-of-tomorrow": json_values,
    },
    id=st.just(CUSTOMER_ID) | texts.filter(bool),
    version=st.integers(1, 2**63 - 1) | st.integers(1, 3),
)
"""commercetools' JSON of a customer, every optional field absent, null, empty, blank or odd."""

_resources = st.fixed_dictionaries(
    {"typeId": st.sampled_from(["customer", "order", "subscription", "customer-group"]), "id": st.just(CUSTOMER_ID)}
)
_projects = st.sampled_from(["example-shop", "other-shop"])


def _created(customer: Json) -> Json:
    return {
        "notificationType": "Message",
        "projectKey": "example-shop",
        "resource": {"typeId": "customer", "id": customer["id"] or CUSTOMER_ID},
        "id": "message-id",
        "version": 1,
        "resourceVersion": customer["version"],
        "type": "CustomerCreated",
        "customer": customer,
    }


customer_messages: st.SearchStrategy[Json] = customers.map(_created)
"""CustomerCreated notifications."""

changes: st.SearchStrategy[Json] = _with_any_of(
    {"version": st.integers(1, 2**63 - 1), "dataErasure": st.booleans(), "oldVersion": st.integers(1, 9)},
    notificationType=st.sampled_from(["ResourceCreated", "ResourceUpdated", "ResourceDeleted"]),
    projectKey=_projects,
    resource=_resources,
)

messages: st.SearchStrategy[Json] = _with_any_of(
    {
        "type": st.sampled_from(["CustomerFirstNameSet", "CustomerDeleted", "OrderCreated"]) | texts,
        "payloadNotIncluded": _with_any_of({"reason": texts, "payloadType": st.just("CustomerCreated")}),
        "resourceVersion": st.integers(1, 2**63 - 1),
        "email": odd_texts,
        "firstName": odd_texts,
    },
    notificationType=st.just("Message"),
    projectKey=_projects,
    resource=_resources,
    version=st.just(1),
)

events: st.SearchStrategy[Json] = _with_any_of(
    {"id": texts, "resourceType": texts, "type": texts, "createdAt": instants, "data": json_values},
    notificationType=st.just("Event"),
)

platform_notifications: st.SearchStrategy[Json] = st.one_of(customer_messages, changes, messages, events)
notifications: st.SearchStrategy[Json] = platform_notifications | platform_notifications.map(a_cloud_event)
"""Notifications of every kind, in both formats."""

_attributes = st.dictionaries(texts, texts, max_size=3)


def _envelope(parts: tuple[bytes, Json, Json]) -> bytes:
    data, message, envelope = parts
    return json.dumps({"message": {"data": base64.b64encode(data).decode(), **message}, **envelope}).encode()


def envelopes_of(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Wrapped pushes of this data, with and without all that Pub/Sub may leave out or add."""
    message = _with_any_of(
        {
            "messageId": texts,
            "message_id": texts,
            "publishTime": texts,
            "attributes": _attributes,
            "orderingKey": texts,
            "of-tomorrow": json_values,
        }
    )
    envelope = _with_any_of(
        {
            "subscription": st.just(SUBSCRIPTION) | texts,
            "deliveryAttempt": st.integers(1, 100),
            "of-tomorrow": json_values,
        }
    )
    return st.tuples(data, message, envelope).map(_envelope)


# ---- mapping files


def toml_text(document: Mapping[str, Any]) -> str:
    """Return the text of a TOML file with these values: a header for each table down to the second level."""
    return "\n".join(_toml_lines(document, ()))


def _toml_lines(table: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[str]:
    inside = {key: value for key, value in table.items() if type(value) is dict and len(at) < 2}  # as in [a.b]
    yield from (f"{_toml_value(key)} = {_toml_value(value)}" for key, value in table.items() if key not in inside)
    for key, value in inside.items():
        yield f"[{'.'.join(_toml_value(name) for name in (*at, key))}]"
        yield from _toml_lines(value, (*at, key))


def _toml_value(value: Any) -> str:  # noqa: ANN401  # whatever TOML can say
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dict():
            return f"{{ {', '.join(f'{_toml_value(key)} = {_toml_value(one)}' for key, one in value.items())} }}"
        case list():
            return f"[{', '.join(map(_toml_value, value))}]"
        case bool():
            return str(value).lower()
    return str(value)  # a number or a date


CUSTOM_FIELDS = (
    "points",
    "tier",
    "newsletter",
    "greeting",
    "credit",
    "interests",
    "rep",
    "since",
    "loyalty-tier",
    "doc",
)
paths = st.sampled_from(
    [
        *CUSTOMER_FIELDS,
        *(f"custom.{name}" for name in CUSTOM_FIELDS),
        *("address.city", "billingAddress.street", "shippingAddress.title", "address.custom.floor"),
        *("customerGroup.name", "customerGroup.key", "customerGroup.custom.discount"),
    ]
)
expressions = st.sampled_from(
    [
        *("custom.points > `10`", "custom.tier || email", "length(custom.interests)", "custom.interests[?@ != 'a']"),
        *("customerGroup.custom.discount", "to_number(custom.tier)", "join(', ', custom.interests)", "`true`"),
        *("max_by(custom.rows, &price).id", "address.city", "stores[0]", "sum(custom.interests)"),
    ]
)
_scalars = st.sampled_from(["", "Gold", 0, 1, -7, 2.5, True, False, 2**53])
_locales = st.lists(st.sampled_from(["de", "en", "de-AT", "customer"]), min_size=1, max_size=3, unique=True)
_values = st.dictionaries(st.sampled_from(["gold", "true", "1", "a"]), _scalars, min_size=1, max_size=2)


def _optional(values: Mapping[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]) -> Any:  # noqa: ANN401  # a strategy
    return st.fixed_dictionaries(required, optional=dict(values))


_finish: Mapping[str, st.SearchStrategy[Any]] = {
    "as": st.sampled_from([kind.value for kind in As]),
    "values": _values,
    "default": _scalars,
    "locales": _locales,
    "clear": st.booleans(),
    "max": st.sampled_from([1, 5, 32_768]),
}
_from = paths | st.lists(paths, min_size=1, max_size=3)
_value_rules = _optional({}, value=_scalars)


def _is_read_along(rule: Json) -> bool:
    """Tell whether no reference inside a customer group is asked for its key."""
    return rule.get("as") != As.KEY or "customerGroup.custom" not in str(rule["from"])


_from_rules = _optional(_finish, **{"from": _from}).filter(_is_read_along)
_rules = st.one_of(paths, _from_rules, _optional(_finish, expr=expressions), _value_rules)
_TRAIT_NAMES = (
    "points",
    "tier",
    "phone",
    "Long name",
    "_x",
    "company.vatId",
    "address.floor",
    "email",
    "b-c",
    "nested.one",
)
_identify = _optional(
    {
        "on": st.sampled_from([["created"], ["updated"], ["created", "updated"]]),
        "defaults": st.booleans(),
        "exclude": st.lists(
            st.sampled_from(["birthday", "address", "address.city", "company"]), unique=True, max_size=2
        ),
        "retired": st.lists(st.sampled_from(["oldOne", "old two"]), unique=True, max_size=2),
        "anonymous_id": paths,
        "external_ids": st.dictionaries(st.sampled_from(["crm_id", "a1"]), paths, max_size=2),
        "traits": st.dictionaries(st.sampled_from(_TRAIT_NAMES), _rules, max_size=5),
    },
    locales=_locales,
)
CATEGORIES = ("Advertising", "Analytics", "Ümlaut & co")
_of_a_category = {
    "as": st.just("boolean"),
    "values": st.dictionaries(st.sampled_from(["gold", "yes"]), st.booleans(), min_size=1, max_size=2),
    "default": st.booleans(),
}
_category_rules = st.one_of(
    paths,
    _optional(_of_a_category, **{"from": _from}),
    _optional(_of_a_category, expr=expressions),
    _optional({}, value=st.booleans()),
)
_gates = st.just({}) | _optional(
    {"withdrawn": st.sampled_from(["nothing", "tell", "suppress"])}, send=st.just([CATEGORIES[0]])
)


def _consents(*, document: bool) -> st.SearchStrategy[Json]:
    names = st.lists(st.sampled_from(CATEGORIES[1:]), unique=True, max_size=2).map(lambda more: [CATEGORIES[0], *more])
    rules = st.dictionaries(st.sampled_from(CATEGORIES[1:]), _category_rules, max_size=2)
    tables = st.builds(lambda rule, more: {CATEGORIES[0]: rule, **more}, _category_rules, rules)
    by = _optional({"categories": names}, **{"from": paths}) if document else _optional({}, categories=tables)
    more = _optional({"unknown": st.booleans(), "event": st.booleans()})
    return st.builds(lambda *parts: {key: one for part in parts for key, one in part.items()}, by, more, _gates)


consents: st.SearchStrategy[Json] = _consents(document=True) | _consents(document=False)
mapping_files: st.SearchStrategy[Json] = _optional({"identify": _identify, "consent": consents}, version=st.just(1))
"""The values of mapping files, all of them valid."""

_wrong_values = st.sampled_from(
    [
        *("", " ", "x", "always", "de", "de_DE", "custom.points", "custom.p", "custom.fields.points", "password"),
        *("billingAddress.phon", "adress.city", "custom.x.y", "stores.key", "customerGroup.x", "points.x", "1st", "é"),
        *("numbr", "localized", "email", "birthday", "tell", "length(", "lenght(email)", "1 > ", "@", "title", "a b"),
        *(0, 1, 2, -1, 1.0, 2.5, 40_000, 2**53, 2**53 + 1, 2**70, True, False, float("inf"), float("nan")),
        *(date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), [], {}, ["x"], ["x", "x"], ["custom.points"], [[]], [1]),
        *(
            [""],
            ["de", "de"],
            ["created"],
            {"from": "email"},
            {"x": "email"},
            {"value": 1},
            {"expr": "email"},
            "x" * 250,
        ),
        *({"value": 1, "as": "text"}, {"from": "email", "value": 1}, {"form": "email"}, {"from": ["email", 1]}),
        *({"from": []}, {"expr": " "}, {"from": "custom.greeting", "as": "localized"}, "oldOne", "created_at"),
    ]
)
_wrong_keys = st.sampled_from(
    [
        *("from", "expr", "value", "as", "locales", "clear", "max", "values", "default", "defaults", "on", "x", ""),
        *("traits", "retired", "send", "withdrawn", "categories", "version", "route", "group", "order", "identify"),
        *("created_at", "company", "address", "title", "name.first", "points", "a.b.c", "1st", "é", "x" * 120, "a."),
        *("segmentConsentPreference", "address.postal_code", "Crm", "with\tcontrol\x01", "segment_consent_preference"),
    ]
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401  # any JSON
    """Return the place of each value inside, as keys and numbers: () for the value itself."""
    yield at
    inside = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for key, one in inside:
        yield from places(one, (*at, key))


def with_another(document: Json, at: tuple[Any, ...], value: Any) -> Json:  # noqa: ANN401  # any JSON
    """Return a document with another value at this place."""
    changed: Any = copy.deepcopy(document)
    inside = changed
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = value
    return cast("Json", changed)


@st.composite
def wrong_mapping_files(draw: st.DrawFn) -> Json:
    """Draw the values of a mapping file with one to three changes that make most of them wrong."""
    file: Json = copy.deepcopy(draw(mapping_files))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(list(places(file))))
        inside: Any = None
        place: Any = file
        for key in at:
            inside, place = place, place[key]
        change = draw(st.sampled_from(["another", "more", "less"]))
        wrong = copy.deepcopy(draw(_wrong_values | _rules))
        if change == "more" and type(place) is dict:
            place[draw(_wrong_keys)] = wrong
        elif change == "more" and type(place) is list:
            place.append(wrong)
        elif change == "less" and at:
            del inside[at[-1]]
        elif at:
            inside[at[-1]] = wrong
    return file


# ---- orders

_CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4, "QQQ": 2}


def exact(money: Mapping[str, Any]) -> Fraction:
    """Return an amount in major units, exactly: the tests' own reading of money."""
    digits = money.get("fractionDigits", _CURRENCIES.get(money["currencyCode"], 2))
    return Fraction(money["preciseAmount" if "preciseAmount" in money else "centAmount"], 10**digits)


def _cents(units: int, currency: str) -> Json:
    kind = {"type": "centPrecision", "currencyCode": currency, "centAmount": units}
    return {**kind, "fractionDigits": _CURRENCIES[currency]} if units % 2 else kind


@st.composite
def moneys(draw: st.DrawFn) -> Json:
    """Draw money of any size and precision that commercetools can write."""
    currency, units = draw(st.sampled_from(sorted(_CURRENCIES))), draw(st.integers(-(2**63), 2**63))
    if draw(st.booleans()):
        return _cents(units, currency)
    more = {"preciseAmount": units, "fractionDigits": draw(st.integers(0, 20))}
    return {"type": "highPrecision", "currencyCode": currency, "centAmount": 0, **more}


def _lines_of(draw: st.DrawFn, currency: str) -> Iterator[Json]:
    for number in range(draw(st.integers(0, 4))):
        quantity, price = draw(st.integers(1, 4)), draw(st.integers(0, 9999))
        fewer, off = draw(st.integers(0, quantity)), draw(st.integers(0, price))
        first = draw(st.integers(0, off))
        is_gift = draw(st.booleans()) and draw(st.booleans())
        list_price = _cents(price + draw(st.integers(1, 500)), currency)
        unit = _cents(price, currency)
        yield {
            "id": f"line-{number}",
            "productId": f"product-{number}",
            "name": {"en": "Mug"},
            "variant": {"id": 1, "sku": f"MUG-{number}"},
            "price": draw(st.sampled_from([{"value": unit}, {"value": list_price, "discounted": {"value": unit}}])),
            "quantity": quantity,
            "lineItemMode": "GiftLineItem" if is_gift else "Standard",
            "totalPrice": _cents(0 if is_gift else price * quantity - off * fewer, currency),
            "discountedPricePerQuantity": [
                _for_each(quantity, price, currency, price)
                if is_gift
                else _for_each(fewer, price - off, currency, first, off - first),
                _for_each(0 if is_gift else quantity - fewer, price, currency),
            ],
        }


def _for_each(quantity: int, value: int, currency: str, *amounts: int) -> Json:
    discounts = [{"discountedAmount": _cents(amount, currency)} for amount in amounts]
    return {
        "quantity": quantity,
        "discountedPrice": {"value": _cents(value, currency), "includedDiscounts": discounts},
    }


def _custom_lines_of(draw: st.DrawFn, currency: str, most: int) -> Iterator[Json]:
    for number, amount in enumerate(draw(st.lists(st.integers(-most, 5000), max_size=2))):
        quantity = 1 if amount < 0 else draw(st.integers(1, 3))
        yield {
            "id": f"custom-{number}",
            "slug": f"custom-{number}",
            "name": {"en": "Fee"},
            "money": _cents(amount, currency),
            "quantity": quantity,
            "totalPrice": _cents(amount * quantity, currency),
        }


@st.composite
def sold_orders(draw: st.DrawFn) -> Json:
    """Draw an order whose amounts agree with each other, as commercetools works them out, in cents and fractions."""
    currency = draw(st.sampled_from(sorted(_CURRENCIES)))
    lines = list(_lines_of(draw, currency))
    most = sum(line["totalPrice"]["centAmount"] for line in lines) // 2  # two of them take no more than there is
    custom = list(_custom_lines_of(draw, currency, most))
    rate = Fraction(draw(st.sampled_from([0, 700, 825, 1900])), 10_000)
    included, shows_share, shows_each = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def taxed(amount: Fraction) -> Json:
        net, gross = (amount / (1 + rate), amount) if included else (amount, amount * (1 + rate))
        return {"totalNet": _cents(round(net), currency), "totalGross": _cents(round(gross), currency)}

    infos, shipping = [], 0
    for price, off in draw(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), max_size=2)):
        info: Json = {"price": _cents(price, currency)}
        if off % 3:
            info["discountedPrice"] = {"value": _cents(price - min(off, price), currency)}
            price -= min(off, price)  # noqa: PLW2901  # what is paid
        infos.append({**info, "taxedPrice": taxed(Fraction(price))} if shows_each else info)
        shipping += price
    before = sum(line["totalPrice"]["centAmount"] for line in (*lines, *custom)) + shipping
    off = draw(st.integers(0, before))
    order: Json = {
        "id": "order-1",
        "version": 1,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "lineItems": lines,
        "customLineItems": custom,
        "totalPrice": _cents(before - off, currency),
    }
    if off:
        order["discountOnTotalPrice"] = {"discountedAmount": _cents(off, currency)}
    if draw(st.booleans()):
        order["taxedPrice"] = taxed(Fraction(before - off))
        if shows_share and infos:
            share = Fraction(before - off, before) if before else Fraction(1)
            order["taxedShippingPrice"] = taxed(shipping * share)
    if len(infos) == 1 and draw(st.booleans()):
        return order | {"shippingMode": "Single", "shippingInfo": infos[0], "shipping": []}
    return order | {"shippingMode": "Multiple", "shipping": [{"shippingInfo": info} for info in infos]}
