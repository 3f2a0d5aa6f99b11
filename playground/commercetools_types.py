"""The Types of the demo shop: custom fields of customers, addresses and customer groups, of every type of field.

https://docs.commercetools.com/api/projects/types#type
"""

from collections.abc import Mapping, Sequence
from typing import Any

from playground.shop import Document

SIMPLE = ("Boolean", "String", "LocalizedString", "Number", "Money", "Date", "Time", "DateTime")
"""The types of fields that have nothing but a name."""
_MADE = "2026-01-01T00:00:00.000Z"


def a_type(number: int, key: str, of: Sequence[str], *fields: Document, **changes: Any) -> Document:  # noqa: ANN401  # any JSON
    """Return a Type of these resources with these FieldDefinitions."""
    return {
        "id": f"00000000-0000-4000-9000-{number:012}",
        "version": 1,
        "key": key,
        "name": {"en": key.replace("-", " ").capitalize()},
        "resourceTypeIds": list(of),
        "fieldDefinitions": list(fields),
        "createdAt": _MADE,
        "lastModifiedAt": _MADE,
        **changes,
    }


def a_field(name: str, of: Document, label: str = "") -> Document:
    """Return a FieldDefinition."""
    return {"name": name, "label": {"en": label or name}, "required": False, "type": of, "inputHint": "SingleLine"}


def simple(name: str) -> Document:
    return {"name": name}


def enum(**labels: str) -> Document:
    return {"name": "Enum", "values": [{"key": key, "label": label} for key, label in labels.items()]}


def localized_enum(**labels: Mapping[str, str]) -> Document:
    return {"name": "LocalizedEnum", "values": [{"key": key, "label": label} for key, label in labels.items()]}


def reference(type_id: str) -> Document:
    return {"name": "Reference", "referenceTypeId": type_id}


def set_of(element: Document) -> Document:
    return {"name": "Set", "elementType": element}


_TIERS = enum(gold="Gold", silver="Silver", bronze="Bronze")
_CHANNELS = localized_enum(web={"en": "Web", "de": "Netz"}, store={"en": "Store", "de": "Laden"})

DEMO_TYPES: tuple[Document, ...] = (
    a_type(
        1,
        "customer-fields",
        ["customer"],
        a_field("newsletter", simple("Boolean"), "Newsletter"),
        a_field("consentAdvertising", simple("Boolean"), "Consent to advertising"),
        a_field("segmentAnonymousId", simple("String"), "Segment's anonymous id"),
        a_field("greeting", simple("LocalizedString"), "Greeting"),
        a_field("loyaltyTier", _TIERS, "Loyalty tier"),
        a_field("channel", _CHANNELS, "Channel"),
        a_field("points", simple("Number"), "Points"),
        a_field("credit", simple("Money"), "Store credit"),
        a_field("since", simple("Date"), "Customer since"),
        a_field("callAt", simple("Time"), "Best time to call"),
        a_field("lastVisit", simple("DateTime"), "Last visit"),
        a_field("salesRep", reference("key-value-document"), "Sales representative"),
        a_field("interests", set_of(simple("String")), "Interests"),
    ),
    a_type(
        2,
        "customer-sets",
        ["customer"],
        *(a_field(f"setOf{name}", set_of(simple(name))) for name in SIMPLE),
        a_field("setOfEnum", set_of(_TIERS)),
        a_field("setOfLocalizedEnum", set_of(_CHANNELS)),
        a_field("setOfReference", set_of(reference("product"))),
    ),
    a_type(3, "address-fields", ["address"], a_field("floor", simple("Number"), "Floor")),
    a_type(4, "group-fields", ["customer-group"], a_field("discount", simple("Number"), "Discount in per cent")),
    a_type(5, "line-item-fields", ["line-item"], a_field("engraving", simple("String"), "Engraving")),
)
