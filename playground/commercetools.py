"""commercetools on this machine, as its HTTP API answers: tokens, resources, Types, subscriptions and the project.

It reads from a `Shop`, and can lag behind it as the real one may. What it does not understand it refuses, so that a
question that only a stand-in would answer is not asked.
https://docs.commercetools.com/api/authorization, https://docs.commercetools.com/api/general-concepts
"""

import argparse
import base64
import binascii
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qs

from playground.commercetools_types import DEMO_TYPES
from playground.history import Document, History
from playground.notifications import iso
from playground.predicates import (
    CUSTOMER,
    DISCOUNT_CODE,
    ORDER,
    PAYMENT,
    TYPE,
    Fields,
    Predicate,
    PredicateError,
    comparisons_of,
    parsed,
    value_of,
)
from playground.shop import Shop
from playground.stand_in import Answer, Call, StandIn, json_answer, phrase, run_until_told

MAX_LIMIT = 500
MAX_OFFSET = 10_000
DEFAULT_LIMIT = 20
_CODES = {
    400: "InvalidInput",
    401: "invalid_token",
    403: "insufficient_scope",
    404: "ResourceNotFound",
    409: "ConcurrentModification",
    502: "BadGateway",
    503: "OverCapacity",
}


class _Refused(Exception):
    """The request is answered with this error."""

    def __init__(self, status: int, message: str, code: str | None = None, **more: object) -> None:
        super().__init__(message)
        self.answer = _error(status, message, code, **more)


class CommercetoolsStandIn(StandIn):
    """`POST /oauth/token` and, under `/{projectKey}`: the project, `types`, `subscriptions`, and the shop's resources.

    These are `customers`, `orders`, `payments`, `discount-codes`. Tokens carry the scopes asked for (all of `scopes`,
    without any), which are enforced, and end after `token_seconds`; setting that to 0 makes tokens that have ended
    already. With `orders`, the settings of a client ask for the scopes that orders need too.
    """

    def __init__(
        self,
        shop: Shop | None = None,
        client_id: str = "stand-in-client",
        client_secret: str = "stand-in-secret",  # noqa: S107  # opens nothing
        *,
        token_seconds: float = 172_800,
        scopes: Sequence[str] = (
            *("view_customers", "view_customer_groups", "view_types", "manage_subscriptions", "view_project_settings"),
            *("view_orders", "view_payments", "view_discount_codes"),
        ),
        orders: bool = False,
        types: Sequence[Document] = DEMO_TYPES,
        port: int = 0,
        latency: float = 0,
        remember: int | None = None,
    ) -> None:
        super().__init__(port=port, latency=latency, remember=remember)
        self.shop = shop or Shop()
        self.client_id = client_id
        self.client_secret = client_secret
        self.token_seconds = token_seconds
        self.referenced: dict[str, Document] = {}
        """Resources that custom fields refer to, by their ids."""
        self.asked_scopes = ("view_customers", *_SCOPES_OF_ORDERS) if orders else ("view_customers",)
        self.scopes = frozenset(f"{scope}:{self.shop.project_key}" for scope in scopes)
        self.subscriptions: dict[str, Document] = {}
        self.types = list(types)
        self.languages = ["de", "en"]  # of the project
        self.tokens_issued = 0
        self._tokens: dict[str, tuple[float, frozenset[str]]] = {}  # token -> (its end in monotonic s, its scopes)
        self._numbers = itertools.count(1)  # of subscriptions
        self._query_lag: dict[str | None, int] = {}  # of a resource; under None, of all others
        self._get_lag: dict[str | None, int] = {}
        self._hidden: frozenset[str] = frozenset()
        self._added: Document | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a client of this stand-in."""
        return {
            "CTP_PROJECT_KEY": self.shop.project_key,
            "CTP_CLIENT_ID": self.client_id,
            "CTP_CLIENT_SECRET": self.client_secret,
            "CTP_AUTH_URL": self.url,
            "CTP_API_URL": self.url,
            "CTP_SCOPES": " ".join(f"{scope}:{self.shop.project_key}" for scope in self.asked_scopes),
        }

    # What a test does to it

    def revoke_tokens(self) -> None:
        """No token issued so far is valid any more."""
        with self._changed:
            self._tokens.clear()

    def lag_query(self, versions: int = 1, ids: Iterable[str] | None = None) -> None:
        """Queries show these resources (without `ids`: all) as they were `versions` updates ago; 0 ends it.

        One that has had fewer updates is shown at the oldest version kept; one just deleted is still there.
        """
        _lag(self._query_lag, versions, ids)

    def lag_all(self, versions: int = 1, ids: Iterable[str] | None = None) -> None:
        """The same for queries and for reading by id or key."""
        _lag(self._query_lag, versions, ids)
        _lag(self._get_lag, versions, ids)

    def hide_from_query(self, ids: Iterable[str] = ()) -> None:
        """Queries do not find these resources; without any, they find all again."""
        self._hidden = frozenset(ids)

    def add_to_query(self, customer: Document | None) -> None:
        """Every page of customers has this one too many, until None."""
        self._added = customer

    # What it answers

    def respond(self, call: Call) -> Answer:
        try:
            return self._route(call)
        except _Refused as refused:
            return refused.answer

    def refusal(self, status: int, retry_after: int | str | None) -> Answer:  # noqa: ARG002  # only a header, here
        return _error(status, phrase(status))

    def _route(self, call: Call) -> Answer:
        method = "GET" if call.method == "HEAD" else call.method
        match method, *call.path.strip("/").split("/"):
            case "POST", "oauth", "token":
                return self._token(call)
            case "GET", project:
                self._allow(call, project, "view_project_settings")
                shown = {"key": project, "name": project, "version": 1, "countries": [], "languages": self.languages}
                return json_answer(200, shown)
            case "GET", project, "types":
                self._allow(call, project, "view_types")
                return json_answer(200, self._page_of_types(call.query))
            case "GET", project, path, *name if path in _SERVED and len(name) <= 1:
                scopes = self._allow(call, project, _SERVED[path].scope)
                one = [self._expanded(self._resource(path, each), call.query, scopes) for each in name]
                return json_answer(200, one[0] if one else self._page(path, call.query, scopes))
            case "GET", _, "subscriptions", name, "health":  # needs no authorization
                statuses = {"Healthy": 200, "TemporaryError": 503}
                return json_answer(statuses.get(self._subscription(name)["status"], 400), {})
            case _, project, "subscriptions", *name:
                self._allow(call, project, "manage_subscriptions")
                with self._changed:
                    return self._subscribe(method, name, call)
        raise _Refused(404, "The requested endpoint does not exist.", "ResourceNotFound")

    # Tokens

    def _token(self, call: Call) -> Answer:
        scheme, _, credentials = call.headers.get("Authorization", "").partition(" ")
        try:
            pair = base64.b64decode(credentials, validate=True).decode() if scheme == "Basic" else ""
        except (binascii.Error, UnicodeDecodeError):
            pair = ""
        if pair != f"{self.client_id}:{self.client_secret}":
            message = "Please provide valid client credentials using HTTP Basic Authentication."
            raise _Refused(401, message, "invalid_client", error="invalid_client", error_description=message)
        given = parse_qs(call.body.decode(errors="replace")) | dict(call.query)
        if given.get("grant_type") != ["client_credentials"]:
            kind = "unsupported_grant_type" if "grant_type" in given else "invalid_request"
            raise _Refused(400, "Expected grant_type=client_credentials.", kind, error=kind)
        asked = frozenset(given.get("scope", [""])[0].split()) or self.scopes
        if not asked <= self.scopes:  # lesser ones neither: https://github.com/Adyen/adyen-commercetools/pull/76
            message = "Permissions exceeded. The client credentials do not have all of the requested permissions."
            raise _Refused(400, message, "invalid_scope", error="invalid_scope", error_description=message)
        with self._changed:
            self.tokens_issued += 1
            token = f"stand-in-token-{self.tokens_issued}"
            self._tokens[token] = (time.monotonic() + self.token_seconds, asked)
        document = {"access_token": token, "token_type": "Bearer", "expires_in": int(self.token_seconds)}
        return json_answer(200, {**document, "scope": " ".join(sorted(asked))})

    def _allow(self, call: Call, project: str, scope: str) -> frozenset[str]:
        """Return the scopes of the call, which allow this."""
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        with self._changed:
            end, scopes = self._tokens.get(token, (0, frozenset()))
        if scheme != "Bearer" or end <= time.monotonic():
            raise _Refused(401, "invalid_token", "invalid_token", error="invalid_token")
        if not _allows(scopes, f"{scope}:{project}"):
            message = f"Insufficient scope. One of the following scopes is missing: {scope}."
            raise _Refused(403, message, error="insufficient_scope", error_description=message)
        return scopes

    # Resources

    def _resource(self, path: str, name: str) -> Document:
        key = name.removeprefix("key=") if name.startswith("key=") and "key" in _SERVED[path].fields else None
        history = _SERVED[path].history(self.shop)
        with self.shop.lock:
            ids = [name] if key is None else history.ids()
            for resource_id in ids:
                resource = history.view(resource_id, self._lag_of(self._get_lag, resource_id))
                if resource and key in (None, resource.get("key")):
                    return resource
        what = f"ID '{name}'" if key is None else f"key '{key}'"
        raise _Refused(404, f"The Resource with {what} was not found.")

    def _page(self, path: str, query: Mapping[str, list[str]], scopes: frozenset[str]) -> Document:
        served = _SERVED[path]
        limit = _number(query, "limit", DEFAULT_LIMIT, 0, MAX_LIMIT)
        offset = _number(query, "offset", 0, 0, MAX_OFFSET)
        predicates = _predicates(query, served.fields)
        sort = [_order(text, served.sortable) for text in query.get("sort", ())]
        with_total = query.get("withTotal", ["true"])[-1] != "false"
        with self.shop.lock:
            found = self._found(served, predicates, sort)
            total = {}
            if with_total and not (predicates or self._hidden or self._query_lag):
                total = {"total": len(served.history(self.shop))}  # without looking at every one of them
            elif with_total:
                every = list(found)
                found, total = iter(every), {"total": len(every)}
            results = list(itertools.islice(found, offset, offset + limit))
        if self._added and path == "customers":
            results.append(self._added)
        page = {"limit": limit, "offset": offset, "count": len(results)}
        return page | total | {"results": [self._expanded(resource, query, scopes) for resource in results]}

    def _found(
        self, served: "_Served", predicates: Sequence[Predicate], sort: "Sequence[_Order]"
    ) -> Iterator[Document]:
        """The resources that fulfil all predicates, in order; lazily where the shop has them in that order."""
        history = served.history(self.shop)
        comparisons = list(comparisons_of(predicates))
        moments = [one.values[0] for one in comparisons if one.field == "lastModifiedAt" and one.test in (">", ">=")]
        since = max(moments, default=_LONG_AGO)
        exact = [one.values for one in comparisons if one.field == "id" and one.test in ("=", "in")]
        if exact:
            ids: Iterable[str] = sorted({str(value) for value in exact[0]})
            sorted_already = not sort
        elif not sort or sort[0] == ("id", False):
            after = max(
                [str(one.values[0]) for one in comparisons if one.field == "id" and one.test == ">"], default=""
            )
            everyone = self._query_lag or not moments
            ids = history.ids(after) if everyone else history.ids_after_modified_since(after, since)
            sorted_already = True
        elif sort[0] == ("lastModifiedAt", False) and not self._query_lag:  # which no two share
            ids, sorted_already = history.ids_modified_since(since), True
        else:
            ids, sorted_already = history.ids(), False
        views = (
            history.view(resource_id, self._lag_of(self._query_lag, resource_id))
            for resource_id in ids
            if resource_id not in self._hidden
        )
        found = (view for view in views if view and all(predicate.holds(view) for predicate in predicates))
        return found if sorted_already else iter(_sorted(found, sort, served.fields))

    def _expanded(self, resource: Document, query: Mapping[str, list[str]], scopes: frozenset[str]) -> Document:
        expand = query.get("expand", ())
        if "customerGroup" in expand and "customerGroup" in resource:
            resource = {**resource, "customerGroup": self._with_group(resource["customerGroup"])}
        if "customerGroupAssignments[*].customerGroup" in expand and "customerGroupAssignments" in resource:
            assignments = [
                {**assignment, "customerGroup": self._with_group(assignment["customerGroup"])}
                for assignment in resource["customerGroupAssignments"]
            ]
            resource = {**resource, "customerGroupAssignments": assignments}
        if any(path.startswith(("custom.fields.", "addresses[*].custom.fields.")) for path in expand):
            resource = self._with_custom(resource, expand, "")
            if "addresses" in resource:
                addresses = [self._with_custom(address, expand, "addresses[*].") for address in resource["addresses"]]
                resource = {**resource, "addresses": addresses}
        may_see_codes = _allows(scopes, f"view_discount_codes:{self.shop.project_key}")
        if "discountCodes[*].discountCode" in expand and "discountCodes" in resource and may_see_codes:
            codes = [{**one, "discountCode": self._with_code(one["discountCode"])} for one in resource["discountCodes"]]
            resource = {**resource, "discountCodes": codes}
        return resource

    def _with_code(self, reference: Document) -> Document:
        code = self.shop.sales.discount_codes.view(reference["id"])
        return {**reference, "obj": code} if code else reference

    def _with_custom(self, document: Document, expand: Sequence[str], front: str) -> Document:
        """Return a document with the references in its custom fields expanded, as far as `referenced` has them."""
        custom = document.get("custom")
        if custom is None:
            return document
        fields = {}
        for name, value in custom["fields"].items():
            path = f"{front}custom.fields.{name}"
            one, several = (
                isinstance(value, dict) and path in expand,
                isinstance(value, list) and f"{path}[*]" in expand,
            )
            fields[name] = self._with_obj(value) if one else [*map(self._with_obj, value)] if several else value
        return {**document, "custom": {**custom, "fields": fields}}

    def _with_obj(self, reference: Document) -> Document:
        referenced = self.referenced.get(reference.get("id", ""))
        return {**reference, "obj": referenced} if referenced else reference

    def _with_group(self, reference: Document) -> Document:
        group = self.shop.groups.get(reference["id"])
        return {**reference, "obj": group} if group else reference

    # Types: https://docs.commercetools.com/api/projects/types

    def _page_of_types(self, query: Mapping[str, list[str]]) -> Document:
        limit = _number(query, "limit", DEFAULT_LIMIT, 0, MAX_LIMIT)
        offset = _number(query, "offset", 0, 0, MAX_OFFSET)
        predicates, sort = _predicates(query, TYPE), [_order(text, _SORTABLE) for text in query.get("sort", ())]
        found = [each for each in self.types if all(predicate.holds(each) for predicate in predicates)]
        found = _sorted(found, sort or [("id", False)], TYPE)
        results = found[offset : offset + limit]
        total = {} if query.get("withTotal", ["true"])[-1] == "false" else {"total": len(found)}
        return {"limit": limit, "offset": offset, "count": len(results)} | total | {"results": results}

    def _lag_of(self, lags: Mapping[str | None, int], resource_id: str) -> int:
        return lags.get(resource_id, lags.get(None, 0))

    # Subscriptions: https://docs.commercetools.com/api/projects/subscriptions

    def _subscription(self, name: str) -> Document:
        with self._changed:
            for subscription in self.subscriptions.values():
                if name in (subscription["id"], f"key={subscription.get('key')}"):
                    return subscription
        raise _Refused(404, f"The Resource with identifier '{name}' was not found.")

    def _subscribe(self, method: str, name: Sequence[str], call: Call) -> Answer:
        if method == "POST" and not name:
            subscription = self._drafted(_document(call))
            self._test(subscription)
            self.subscriptions[subscription["id"]] = subscription
            return json_answer(201, subscription)
        if method == "GET" and not name:
            every = list(self.subscriptions.values())
            page = {"limit": DEFAULT_LIMIT, "offset": 0, "count": len(every), "total": len(every)}
            return json_answer(200, {**page, "results": every})
        subscription = self._subscription("/".join(name))
        if method == "GET":
            return json_answer(200, subscription)
        if method == "DELETE":
            _same_version(subscription, _number(call.query, "version", 0, 0, None))
            return json_answer(200, self.subscriptions.pop(subscription["id"]))
        update = _document(call)
        _same_version(subscription, update.get("version"))
        updated = dict(subscription)
        for action in update.get("actions", []):
            self._act(updated, action)
        if not updated["messages"] and not updated["changes"] and not updated["events"]:
            raise _Refused(400, "A subscription needs messages, changes or events.")
        if updated != subscription:
            updated |= {"version": subscription["version"] + 1, "lastModifiedAt": iso(datetime.now(UTC))}
            self.subscriptions[subscription["id"]] = updated
        return json_answer(200, updated)

    def _drafted(self, draft: Document) -> Document:
        key = draft.get("key")
        if not isinstance(draft.get("destination"), dict):
            raise _Refused(400, "Request body does not contain valid JSON. destination: Missing required value")
        if not any(draft.get(name) for name in ("messages", "changes", "events")):
            raise _Refused(400, "A subscription needs messages, changes or events.")
        if key is not None and not re.fullmatch(r"[A-Za-z0-9_-]{2,256}", str(key)):
            raise _Refused(400, f"Invalid key: {key}", "InvalidField", field="key")
        if any(other.get("key") == key for other in self.subscriptions.values() if key):
            raise _Refused(400, f"Duplicate value '{key}' for key.", "DuplicateField", field="key")
        now = iso(datetime.now(UTC))
        return {
            "id": f"00000000-0000-4000-8000-{next(self._numbers):012}",
            "version": 1,
            "createdAt": now,
            "lastModifiedAt": now,
            "destination": draft["destination"],
            **({"key": key} if key else {}),
            **{name: draft.get(name) or [] for name in ("messages", "changes", "events")},
            "format": draft.get("format") or {"type": "Platform"},
            "status": "Healthy",
        }

    def _act(self, subscription: Document, action: Document) -> None:
        match action.get("action"):
            case "setChanges" | "setMessages" | "setEvents" as name:
                field = name.removeprefix("set").lower()
                subscription[field] = action.get(field) or []
            case "setKey":
                subscription.pop("key", None)
                subscription.update({"key": action["key"]} if action.get("key") else {})
            case "changeDestination":
                subscription.update(destination=action["destination"], status="Healthy")
                self._test(subscription)
            case other:
                raise _Refused(400, f"Request body does not contain valid JSON. Unknown action: {other}")

    def _test(self, subscription: Document) -> None:
        """A Subscription is not made, and its destination not changed, unless a test notification can be published."""
        try:
            self.shop.test_notification(subscription["id"], subscription.get("key"))
        except Exception as problem:  # whatever it is that the destination does
            topic, project = (subscription["destination"].get(name) for name in ("topic", "projectId"))
            message = (
                f"A test message could not be delivered to this destination: GoogleCloudPubSub topic '{topic}' in"
                f" project '{project}'. Please make sure your destination is correctly configured."
            )
            raise _Refused(400, message) from problem


def _error(status: int, message: str, code: str | None = None, **more: object) -> Answer:
    """An error document; what begins with `error` goes to the top, as with authentication errors, the rest inside."""
    code = code or _CODES.get(status, "General")
    top = {name: value for name, value in more.items() if name.startswith("error")}
    detail = {name: value for name, value in more.items() if name not in top}
    errors = [{"code": code, "message": message, **detail}]
    return json_answer(status, {"statusCode": status, "message": message, "errors": errors, **top})


def _allows(scopes: Iterable[str], needed: str) -> bool:
    name, _, project = needed.partition(":")
    manage = name.replace("view_", "manage_", 1)
    return not {f"{name}:{project}", f"{manage}:{project}", f"manage_project:{project}"}.isdisjoint(scopes)


def _lag(lags: dict[str | None, int], versions: int, ids: Iterable[str] | None) -> None:
    if ids is None:
        lags.clear()
    for resource_id in (None,) if ids is None else ids:
        lags[resource_id] = versions
    if not any(lags.values()):
        lags.clear()


def _number(query: Mapping[str, list[str]], name: str, default: int, least: int, most: int | None) -> int:
    text = query.get(name, [str(default)])[-1]
    if not re.fullmatch(r"\d{1,18}", text):
        raise _Refused(400, f"Malformed parameter: {name}: {text}")
    if not least <= int(text) <= (int(text) if most is None else most):
        raise _Refused(400, f"Invalid value for parameter {name}: {text} is not between {least} and {most}.")
    return int(text)


def _document(call: Call) -> Document:
    try:
        document = call.json()
    except (ValueError, RecursionError, OSError, EOFError):
        document = None
    if not isinstance(document, dict):
        raise _Refused(400, "Request body does not contain valid JSON.")
    return document


def _same_version(subscription: Document, version: object) -> None:
    if version != subscription["version"]:
        message = f"Object {subscription['id']} has a different version than expected."
        raise _Refused(409, message, currentVersion=subscription["version"])


_Order = tuple[str, bool]  # a field, whether descending
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_SORTABLE = ("id", "version", "createdAt", "lastModifiedAt")  # which every resource has


def _order(text: str, sortable: Sequence[str]) -> _Order:
    field, _, direction = text.strip().partition(" ")
    if field not in sortable or direction.strip() not in ("", "asc", "desc"):
        raise _Refused(400, f"Malformed parameter: sort: {text}")
    return field, direction.strip() == "desc"


def _sorted(found: Iterable[Document], sort: Sequence[_Order], fields: Fields) -> list[Document]:
    documents = list(found)
    for field, descending in reversed(sort):
        documents.sort(key=partial(value_of, field=field, kind=fields[field]), reverse=descending)
    return documents


@dataclass(frozen=True, slots=True)
class _Served:
    """Resources that are served by id and by query, where they are, and what may be asked of them."""

    history: Callable[[Shop], History]
    scope: str
    fields: Fields
    sortable: Sequence[str] = _SORTABLE


_SERVED = {
    "customers": _Served(lambda shop: shop.customers, "view_customers", CUSTOMER, (*_SORTABLE, "email")),
    "orders": _Served(lambda shop: shop.sales.orders, "view_orders", ORDER),
    "payments": _Served(lambda shop: shop.sales.payments, "view_payments", PAYMENT),
    "discount-codes": _Served(lambda shop: shop.sales.discount_codes, "view_discount_codes", DISCOUNT_CODE),
}
_SCOPES_OF_ORDERS = ("view_orders", "view_payments", "view_discount_codes")


def _predicates(query: Mapping[str, list[str]], fields: Fields) -> list[Predicate]:
    variables = {name.removeprefix("var."): values for name, values in query.items() if name.startswith("var.")}
    return [_predicate(where, variables, fields) for where in query.get("where", ())]


def _predicate(where: str, variables: Mapping[str, list[str]], fields: Fields) -> Predicate:
    try:
        return parsed(where, variables, fields)
    except PredicateError as malformed:
        raise _Refused(400, f"Malformed parameter: where: {malformed}") from None


def main() -> None:
    """Serve a shop of invented customers and orders until SIGTERM or Ctrl-C."""
    options = argparse.ArgumentParser(prog="python -m playground.commercetools", description=main.__doc__)
    options.add_argument("--port", type=int, default=0, help="0: any free one")
    options.add_argument("--latency", type=float, default=0, help="seconds before each answer")
    options.add_argument("--customers", type=int, default=1_000, help="made when they are looked at")
    options.add_argument("--orders", type=int, default=0, help="of five lines, made when they are looked at")
    options.add_argument("--sales", type=int, default=0, help="orders placed, paid, edited, cancelled or refunded")
    options.add_argument("--project-key", default="demo-shop")
    options.add_argument("--client-id", default="stand-in-client")
    options.add_argument("--client-secret", default="stand-in-secret")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    shop = Shop(chosen.project_key, population=chosen.customers, orders=chosen.orders, seed=chosen.seed)
    for _ in range(chosen.sales):
        shop.random_sale()
    commercetools = CommercetoolsStandIn(
        shop,
        chosen.client_id,
        chosen.client_secret,
        port=chosen.port,
        latency=chosen.latency,
        remember=1_000,
    )
    run_until_told(
        commercetools,
        lambda: {"customers": shop.count(), "orders": len(shop.sales.orders), "tokens": commercetools.tokens_issued},
    )


if __name__ == "__main__":
    main()
