"""The rules that the settings describe: all that decides an event besides the resource."""

import hashlib

from service.config import ConfigError, Orders, Settings, UserIdField
from service.serving.expressions import compile_expression
from service.serving.toml_file import TomlFile
from service.transformation.consent import Withdrawn
from service.transformation.customer import IdentifyRules
from service.transformation.mapping import ShopMapping
from service.transformation.mapping_file import built_in_mapping, mapping_of
from service.transformation.order import OrderRules


def identify_rules_by(settings: Settings) -> IdentifyRules:
    """Return the rules of the settings and their mapping file. Raises Mistakes, and ConfigError for both together."""
    rules = IdentifyRules(
        user_id=settings.segment_user_id,
        clear=settings.segment_clear_traits,
        source=hashlib.sha256(settings.segment.write_key.encode()).hexdigest()[:16],
        mapping=shop_mapping(settings.mapping_file),
        project_key=settings.commercetools.project_key if settings.commercetools else "",
    )
    consent = rules.mapping.consent
    if consent is not None and consent.withdrawn is Withdrawn.TELL and rules.user_id is UserIdField.EMAIL:
        raise ConfigError(
            'consent.withdrawn = "tell" sends the user id of who has withdrawn, so SEGMENT_USER_ID must not be email.'
        )
    if consent is not None and consent.withdrawn is Withdrawn.SUPPRESS and settings.segment_public_api_token is None:
        raise ConfigError('consent.withdrawn = "suppress" needs SEGMENT_PUBLIC_API_TOKEN.')
    return rules


def fingerprint_by(settings: Settings, rules: IdentifyRules) -> str:
    """Return the fingerprint of all rules: of those for customers, with ORDERS=on also of those for orders."""
    if settings.orders is Orders.OFF:
        return rules.fingerprint
    both = rules.fingerprint + OrderRules.beside(rules, settings.order_imports).fingerprint
    return hashlib.sha256(both.encode()).hexdigest()[: len(rules.fingerprint)]


def shop_mapping(file: TomlFile | None) -> ShopMapping:
    """Return the mapping of a file, or the built-in one. Raises Mistakes."""
    built_in = built_in_mapping()
    return built_in if file is None else mapping_of(file, compile_expression, built_in)
