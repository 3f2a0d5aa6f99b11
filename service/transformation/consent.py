"""A customer's consent, as Segment's events carry it, and what is not sent without it.

An event without a consent object flows to all destinations, and a category that is missing in one counts as refused.
So every category is always there, with a real boolean.
https://www.twilio.com/docs/segment/privacy/consent-management/consent-in-segment-connections
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from service.transformation.paths import View
from service.transformation.rule import Rule


class Withdrawn(StrEnum):
    """What Segment is told of a customer who has not consented to what `send` demands, and may have before."""

    NOTHING = "nothing"
    TELL = "tell"
    SUPPRESS = "suppress"


@dataclass(frozen=True)
class Consent:
    """How consent is read. `unknown` stands for what is unset, or no boolean.

    `categories` have a rule each. With `document`, a rule that gives the whole consent object as JSON, they have none;
    if there are no `categories` either, those in the document and in `send` count.
    `send` are the categories without which nothing is sent; an empty one sends always. With `event`, the track event
    "Segment Consent Preference Updated" follows each identify.
    """

    categories: Mapping[str, Rule | None]
    document: Rule | None = None
    unknown: bool = False
    send: tuple[str, ...] = ()
    withdrawn: Withdrawn = Withdrawn.NOTHING
    event: bool = False

    @property
    def rules(self) -> Sequence[Rule]:
        each = [rule for rule in self.categories.values() if rule is not None]
        return each if self.document is None else [*each, self.document]

    @property
    def effective(self) -> Mapping[str, Any]:
        """What decides an event, as JSON."""
        return {
            "categories": {name: rule and rule.effective for name, rule in self.categories.items()},
            "document": self.document and self.document.effective,
            "unknown": self.unknown,
            "send": sorted(self.send),
            "withdrawn": self.withdrawn,
            "event": self.event,
        }

    def preferences(self, view: View) -> dict[str, bool]:
        """Return the preference for every category; {} if all names are in the document, and it cannot be read.

        The names in `send` are known without it. They count as refused then, never as given.
        """
        given: Mapping[str, Any] = self._in_document(view) if self.document is not None else {}
        named = {*given, *self.send} if given or not self.unknown else ()
        categories = self.categories or dict.fromkeys(sorted(named))
        values = {name: given.get(name) if rule is None else rule.read(view) for name, rule in categories.items()}
        return {name: value if type(value) is bool else self.unknown for name, value in values.items()}

    def _in_document(self, view: View) -> Mapping[str, Any]:
        value = self.document.read(view) if self.document is not None else None
        if type(value) is not dict:
            return {}
        inner = value.get("categoryPreferences", value)
        return inner if type(inner) is dict else {}

    def missing(self, preferences: Mapping[str, bool]) -> list[str]:
        """Return the categories that `send` demands, and these preferences do not have."""
        return [name for name in self.send if not preferences[name]]
