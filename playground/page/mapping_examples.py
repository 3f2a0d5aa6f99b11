"""The texts that the mapping editor offers: one to start from, and examples of docs/mapping.md's vocabulary."""

from typing import NamedTuple

from service.operations.mapping_show import packaged


class Example(NamedTuple):
    """A text for the editor; `title` is what its button says."""

    name: str
    title: str
    text: str


START = """\
# The shop's own mapping file: what Segment gets of each customer besides the built-in traits.
# docs/mapping.md has all that can be said here. A line that begins with # has no effect.
version = 1

[identify]
# exclude = ["birthday"]          # a built-in trait that is not sent any more
# retired = ["loyaltyLevel"]      # a trait that was sent once, and that Segment clears

[identify.traits]
language        = "locale"        # the trait's name at Segment = the customer's field
"company.vatId" = "vatId"         # a part of the built-in trait company, which keeps its other part

# A custom field, where "not set" arrives as false:
# newsletter = { from = "custom.newsletter", as = "boolean", default = false }
"""

_CUSTOM = """\
# Custom fields become traits. A customer without the field has null, or the default.
version = 1

[identify.traits]
loyaltyTier = { from = "custom.loyaltyTier", values = { gold = "Gold", silver = "Silver" } }
points      = { from = "custom.points", as = "number" }
newsletter  = { from = "custom.newsletter", as = "boolean", default = false }
interests   = { from = "custom.interests", as = "list" }
vip         = { expr = "custom.points > `1000`", as = "boolean" }
source      = { value = "shop" }
"""

_CONSENT = """\
# Every event says what the customer has consented to. Segment keeps it from the destinations of other categories.
version = 1

[consent]
unknown = false       # a category that is not set, or no boolean, is a refusal
send    = "always"    # ["Advertising"]: nothing is sent of a customer without that consent

[consent.categories]
Advertising = "custom.consentAdvertising"
Analytics   = { from = "custom.tracking", values = { yes = true, no = false } }
Functional  = { value = true }
"""

_RETIRED = """\
# birthday is neither read nor sent any more, and Segment clears what it has. Without "retired" Segment keeps it.
version = 1

[identify]
exclude = ["birthday", "phone"]
retired = ["birthday", "loyaltyLevel"]
"""

_ORDER = """\
# What the events of an order say besides.
version = 1

[order]
anonymous_id = "custom.segmentAnonymousId"                    # where the shop has put Segment's anonymousId
locale       = "en"                                           # all names of products in one language
product_url  = "https://www.example.com/{locale}/{sku}"
"""

_EMAIL = """\
# Traits under other names: the built-in ones are switched off, and only what is listed is sent.
version = 1

[identify]
defaults = false
locales  = ["customer", "en"]

[identify.traits]
email      = "email"
first_name = "firstName"
last_name  = "lastName"
city       = { from = ["shippingAddress.city", "billingAddress.city"] }
vip_group  = { from = "customerGroup.key", default = "none" }
verified   = "isEmailVerified"
"""


def examples() -> list[Example]:
    """Return all texts; every one is a valid file."""
    return [
        Example("start", "Start text", START),
        Example("built-in", "Built-in defaults", packaged("defaults.toml")),
        Example("custom", "Custom traits", _CUSTOM),
        Example("retired", "Retired trait", _RETIRED),
        Example("listed", "Only listed traits", _EMAIL),
        Example("consent", "Consent", _CONSENT),
        Example("order", "Orders", _ORDER),
    ]
