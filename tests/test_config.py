"""The environment: what it means, and what is said of one that means nothing."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.config import (
    ClearTraits,
    CommercetoolsSettings,
    ConfigError,
    Erasure,
    LogLevel,
    PushAuth,
    Region,
    SegmentSettings,
    Settings,
    UnusableSettings,
    UserIdField,
    segment_from,
    settings_from,
)
from tests.builders import an_environment
from tests.strategies import texts

COMMERCETOOLS = {
    "CTP_PROJECT_KEY": "example-shop",
    "CTP_CLIENT_ID": "example-client",
    "CTP_CLIENT_SECRET": "example-client-secret",
    "CTP_AUTH_URL": "https://auth.example.com",
    "CTP_API_URL": "https://api.example.com",
    "CTP_SCOPES": "view_customers:example-shop",
}
OIDC = {
    "PUSH_AUTH": "oidc",
    "PUSH_AUDIENCE": "https://service.example.com",
    "PUSH_SERVICE_ACCOUNT": "push@example-project.example.com",
}
NAMES = [
    *COMMERCETOOLS,
    *OIDC,
    *("PORT", "SEGMENT_WRITE_KEY", "SEGMENT_REGION", "SEGMENT_HOST", "SEGMENT_USER_ID", "SEGMENT_CLEAR_TRAITS"),
    *("PUSH_CERTS_URL", "DEAD_LETTER_TOPIC", "ERASURE", "SEGMENT_PUBLIC_API_TOKEN", "SEGMENT_PUBLIC_API_URL"),
    "LOG_LEVEL",
]


def test_the_smallest_environment_gives_every_default() -> None:
    environment = {"SEGMENT_WRITE_KEY": "example-write-key", "PUSH_AUTH": "iam"}

    settings = settings_from(environment)

    assert settings == Settings(
        segment=SegmentSettings(write_key="example-write-key", region=Region.US, host="https://api.segment.io"),
        push_auth=PushAuth.IAM,
        port=8080,
        segment_user_id=UserIdField.EMAIL,
        segment_clear_traits=ClearTraits.OWN,
        push_audience=None,
        push_service_account=None,
        push_certs_url="https://www.googleapis.com/oauth2/v1/certs",
        commercetools=None,
        dead_letter_topic=None,
        erasure=Erasure.OFF,
        segment_public_api_token=None,
        segment_public_api_url="https://api.segmentapis.com",
        log_level=LogLevel.INFO,
    )


def test_the_fullest_environment_sets_everything() -> None:
    environment = {
        **COMMERCETOOLS,
        **OIDC,
        "PORT": "9090",
        "SEGMENT_WRITE_KEY": "example-write-key",
        "SEGMENT_REGION": "eu",
        "SEGMENT_HOST": "https://segment.example.com/",
        "SEGMENT_USER_ID": "externalId",
        "SEGMENT_CLEAR_TRAITS": "all",
        "PUSH_CERTS_URL": "http://127.0.0.1:8085/certs",
        "DEAD_LETTER_TOPIC": "projects/example-project/topics/dead",
        "ERASURE": "every",
        "SEGMENT_PUBLIC_API_TOKEN": "example-public-token",
        "SEGMENT_PUBLIC_API_URL": "https://public.example.com",
        "LOG_LEVEL": "DEBUG",
    }

    settings = settings_from(environment)

    assert settings == Settings(
        segment=SegmentSettings("example-write-key", Region.EU, "https://segment.example.com"),
        push_auth=PushAuth.OIDC,
        port=9090,
        segment_user_id=UserIdField.EXTERNAL_ID,
        segment_clear_traits=ClearTraits.ALL,
        push_audience="https://service.example.com",
        push_service_account="push@example-project.example.com",
        push_certs_url="http://127.0.0.1:8085/certs",
        commercetools=CommercetoolsSettings(
            project_key="example-shop",
            client_id="example-client",
            client_secret="example-client-secret",
            auth_url="https://auth.example.com",
            api_url="https://api.example.com",
            scopes="view_customers:example-shop",
        ),
        dead_letter_topic="projects/example-project/topics/dead",
        erasure=Erasure.EVERY,
        segment_public_api_token="example-public-token",
        segment_public_api_url="https://public.example.com",
        log_level=LogLevel.DEBUG,
    )


@pytest.mark.parametrize(
    ("name", "allowed", "attribute"),
    [
        pytest.param("SEGMENT_USER_ID", "email id key externalId customerNumber", "segment_user_id", id="user id"),
        pytest.param("SEGMENT_CLEAR_TRAITS", "off own all", "segment_clear_traits", id="clear traits"),
        pytest.param("PUSH_AUTH", "iam oidc none", "push_auth", id="push auth"),
        pytest.param("ERASURE", "off requested every", "erasure", id="erasure"),
        pytest.param("LOG_LEVEL", "DEBUG INFO WARNING ERROR CRITICAL", "log_level", id="log level"),
    ],
)
def test_every_choice_can_be_made(name: str, allowed: str, attribute: str) -> None:
    for choice in allowed.split():
        environment = an_environment(**OIDC, SEGMENT_PUBLIC_API_TOKEN="example-token") | {name: choice}

        assert getattr(settings_from(environment), attribute) == choice


@pytest.mark.parametrize(
    ("changes", "host", "public_api"),
    [
        pytest.param({}, "https://api.segment.io", "https://api.segmentapis.com", id="unset"),
        pytest.param(
            {"SEGMENT_REGION": "us"}, "https://api.segment.io", "https://api.segmentapis.com", id="united states"
        ),
        pytest.param(
            {"SEGMENT_REGION": "eu"},
            "https://events.eu1.segmentapis.com",
            "https://eu1.api.segmentapis.com",
            id="europe",
        ),
        pytest.param(
            {"SEGMENT_REGION": "eu", "SEGMENT_HOST": "http://127.0.0.1:8086"},
            "http://127.0.0.1:8086",
            "https://eu1.api.segmentapis.com",
            id="the host overrides",
        ),
        pytest.param(
            {"SEGMENT_REGION": "eu", "SEGMENT_PUBLIC_API_URL": "http://127.0.0.1:8086/"},
            "https://events.eu1.segmentapis.com",
            "http://127.0.0.1:8086",
            id="the public API's host overrides",
        ),
    ],
)
def test_the_region_says_where_segment_is(changes: dict[str, str], host: str, public_api: str) -> None:
    settings = settings_from(an_environment(**changes))

    assert (settings.segment.host, settings.segment_public_api_url) == (host, public_api)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("SEGMENT_WRITE_KEY", {}, id="write key"),
        pytest.param("PUSH_AUTH", {}, id="push auth has no default"),
        pytest.param("PUSH_AUDIENCE", OIDC, id="audience with oidc"),
        pytest.param("PUSH_SERVICE_ACCOUNT", OIDC, id="service account with oidc"),
        pytest.param("SEGMENT_PUBLIC_API_TOKEN", {"ERASURE": "requested"}, id="token with erasure requested"),
        pytest.param("SEGMENT_PUBLIC_API_TOKEN", {"ERASURE": "every"}, id="token with erasure of every"),
        *(pytest.param(name, COMMERCETOOLS, id=f"{name} without the others' company") for name in COMMERCETOOLS),
    ],
)
@pytest.mark.parametrize("absence", [None, "", " \n"], ids=["unset", "empty", "blank"])
def test_a_missing_setting_is_named_in_one_sentence(name: str, changes: dict[str, str], absence: str | None) -> None:
    environment = an_environment(**{**changes, name: absence})

    with pytest.raises(ConfigError) as error:
        settings_from(environment)

    assert_one_sentence_about(name, str(error.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            pytest.param(name, "canary-value", id=f"{name} unknown")
            for name in ("SEGMENT_REGION", "SEGMENT_USER_ID", "SEGMENT_CLEAR_TRAITS", "PUSH_AUTH", "ERASURE")
        ),
        pytest.param("LOG_LEVEL", "canary-value", id="LOG_LEVEL unknown"),
        pytest.param("PUSH_AUTH", "None", id="PUSH_AUTH in another case"),
        pytest.param("PORT", "canary-value", id="PORT no number"),
        pytest.param("PORT", "-1", id="PORT negative"),
        pytest.param("PORT", "65536", id="PORT too high"),
        pytest.param("PORT", "80.80", id="PORT with a point"),
        pytest.param("PORT", "\u0668\u0660", id="PORT in Arabic digits"),
        pytest.param("PORT", "9" * 5000, id="PORT of more digits than Python reads"),
        *(
            pytest.param(name, value, id=f"{name} {why}")
            for name in (*("SEGMENT_HOST", "SEGMENT_PUBLIC_API_URL", "PUSH_CERTS_URL", "CTP_AUTH_URL", "CTP_API_URL"),)
            for why, value in (
                ("without scheme", "canary.example.com"),
                ("of another scheme", "ftp://canary.example.com"),
                ("without host", "https://"),
                ("with query", "https://canary.example.com?a=b"),
                ("with credentials", "https://canary:canary@example.com"),
                ("with half a bracket", "https://[canary"),
                ("with a port that is none", "https://canary.example.com:canary"),
            )
        ),
        pytest.param("SEGMENT_HOST", "https://canary.example.com/v1", id="SEGMENT_HOST with path"),
        pytest.param("SEGMENT_PUBLIC_API_URL", "https://canary.example.com/x", id="SEGMENT_PUBLIC_API_URL with path"),
        *(
            pytest.param(name, f"https://{host}", id=f"{name} with {why} in its host")
            for name in ("SEGMENT_HOST", "CTP_API_URL")
            for why, host in (("an empty part", "canary..example.com"), ("a part too long", f"{'canary' * 11}.com"))
        ),
        *(
            pytest.param("CTP_PROJECT_KEY", f"canary{character}shop", id=f"CTP_PROJECT_KEY with {character}")
            for character in "/?#%:"
        ),
        pytest.param("DEAD_LETTER_TOPIC", "canary-topic", id="DEAD_LETTER_TOPIC without project"),
        pytest.param("DEAD_LETTER_TOPIC", "projects/p/subscriptions/canary", id="DEAD_LETTER_TOPIC of another kind"),
        pytest.param("DEAD_LETTER_TOPIC", "projects/p/topics/canary/x", id="DEAD_LETTER_TOPIC too long"),
    ],
)
def test_an_unknown_value_is_refused_in_one_sentence_that_names_the_setting_and_not_the_value(
    name: str, value: str
) -> None:
    environment = an_environment(**COMMERCETOOLS) | {name: value}

    with pytest.raises(ConfigError) as error:
        settings_from(environment)

    assert_one_sentence_about(name, str(error.value))
    assert "canary" not in str(error.value)


GOOD = {
    **COMMERCETOOLS,
    **OIDC,
    "PORT": "8080",
    "SEGMENT_WRITE_KEY": "example-write-key",
    "SEGMENT_REGION": "eu",
    "SEGMENT_HOST": "https://segment.example.com",
    "SEGMENT_USER_ID": "id",
    "SEGMENT_CLEAR_TRAITS": "own",
    "PUSH_CERTS_URL": "https://certs.example.com",
    "DEAD_LETTER_TOPIC": "projects/example-project/topics/dead",
    "ERASURE": "off",
    "SEGMENT_PUBLIC_API_TOKEN": "example-token",
    "SEGMENT_PUBLIC_API_URL": "https://public.example.com",
    "LOG_LEVEL": "INFO",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("found", "change"),
    [
        pytest.param("must be without the quotes around it", '"{}"', id="in quotes"),
        pytest.param("must be without the quotes around it", " '{}'\n", id="in single quotes, with blanks around"),
        pytest.param("must be without the quotes around it", "\u201c{}\u201d", id="in quotes of a word processor"),
        pytest.param("must not contain a quotation mark (character 1)", '"{}', id="with one quote"),
        pytest.param("must not contain a blank (character 2)", "x\u00a0{}", id="with a no-break space"),
        pytest.param("must not contain a control character such as a line break (character 2)", "x\n{}", id="2 lines"),
        pytest.param("must not contain a control character such as a line break (character 2)", "x\x1b{}", id="escape"),
        pytest.param("must not contain an invisible character (character 1)", "\u200b{}", id="with U+200B"),
        pytest.param("must not contain an invisible character (character 1)", "\ufeff{}", id="with a byte order mark"),
        pytest.param("must not contain a byte that is not UTF-8 (character 1)", "\udcff{}", id="with a byte 0xff"),
        pytest.param("must not contain a character outside ASCII (character 2)", "x\u2013{}", id="with a dash"),
        pytest.param("must have at most 4,096 characters", "{}" + "canary" * 1000, id="too long"),
    ],
)
def test_what_no_value_contains_is_refused_in_every_setting(name: str, found: str, change: str) -> None:
    settings_from(GOOD)
    value = change.format(GOOD[name])

    with pytest.raises(ConfigError) as error:
        settings_from(GOOD | {name: value})

    assert_one_sentence_about(name, str(error.value))
    assert found in str(error.value)
    assert GOOD[name] not in str(error.value).split()
    assert "canary" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CTP_SCOPES"])
def test_a_blank_separates_scopes_and_is_in_no_other_value(name: str) -> None:
    scopes = "view_customers:example-shop view_customer_groups:example-shop"
    settings = settings_from(GOOD | {"CTP_SCOPES": scopes})
    assert settings.commercetools is not None
    assert settings.commercetools.scopes == scopes

    with pytest.raises(ConfigError, match=rf"^{name} must not contain a blank \(character 2\)\.$"):
        settings_from(GOOD | {name: f"x {GOOD[name]}"})


def test_several_missing_commercetools_settings_are_named_together() -> None:
    environment = an_environment(CTP_PROJECT_KEY="example-shop", CTP_SCOPES="view_customers:example-shop")

    with pytest.raises(ConfigError) as error:
        settings_from(environment)

    assert all(
        name in str(error.value) for name in ("CTP_CLIENT_ID", "CTP_CLIENT_SECRET", "CTP_AUTH_URL", "CTP_API_URL")
    )


def test_all_settings_that_are_missing_or_unusable_are_named_at_once_each_in_a_line() -> None:
    environment = {
        "PUSH_AUTH": "oidc",
        "PORT": "canary",
        "SEGMENT_REGION": "canary",
        "SEGMENT_HOST": '"canary"',
        "CTP_PROJECT_KEY": "can/ary",
        "CTP_AUTH_URL": "canary",
        "ERASURE": "every",
        "MAPPING_FILE": "/no/canary.toml",
    }

    with pytest.raises(UnusableSettings) as error:
        settings_from(environment)

    together = "CTP_CLIENT_ID, CTP_CLIENT_SECRET, CTP_API_URL, CTP_SCOPES must be set too"
    lines = str(error.value).splitlines()
    assert [line.partition(" must ")[0] for line in lines] == [
        *("SEGMENT_REGION", "SEGMENT_WRITE_KEY", "SEGMENT_HOST", "PORT", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT"),
        *(together.partition(" must ")[0], "CTP_PROJECT_KEY", "CTP_AUTH_URL", "SEGMENT_PUBLIC_API_TOKEN"),
        "MAPPING_FILE: canary.toml does not exist.",
    ]
    assert together in str(error.value)
    assert "canary" not in "".join(lines[:-1])
    assert set(error.value.problems) == {
        *("SEGMENT_REGION", "SEGMENT_WRITE_KEY", "SEGMENT_HOST", "PORT", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT"),
        *(*COMMERCETOOLS, "SEGMENT_PUBLIC_API_TOKEN", "MAPPING_FILE"),
    }


def test_blanks_around_a_value_and_a_slash_after_an_address_do_not_count() -> None:
    environment = an_environment(
        SEGMENT_WRITE_KEY=" example-write-key\n", PUSH_CERTS_URL="https://certs.example.com/ ", PORT=" 80 "
    )

    settings = settings_from(environment)

    assert settings.segment.write_key == "example-write-key"
    assert settings.push_certs_url == "https://certs.example.com"
    assert settings.port == 80


def test_a_send_alone_needs_the_write_key_alone() -> None:
    segment = segment_from({"SEGMENT_WRITE_KEY": "example-write-key", "SEGMENT_REGION": "eu"})

    assert segment == SegmentSettings("example-write-key", Region.EU, "https://events.eu1.segmentapis.com")


def test_a_send_without_a_write_key_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^SEGMENT_WRITE_KEY must be set\.$"):
        segment_from({})


def test_no_secret_is_in_the_settings_repr() -> None:
    secrets = {
        "SEGMENT_WRITE_KEY": "canary-write-key",
        "CTP_CLIENT_SECRET": "canary-client-secret",
        "SEGMENT_PUBLIC_API_TOKEN": "canary-token",
    }

    settings = settings_from(an_environment(**(COMMERCETOOLS | secrets)))

    assert settings.segment.write_key == "canary-write-key"
    assert settings.commercetools is not None
    assert settings.commercetools.client_secret == "canary-client-secret"
    assert settings.segment_public_api_token == "canary-token"
    assert "canary" not in repr(settings)


def test_settings_do_not_change() -> None:
    settings: Any = settings_from(an_environment(**COMMERCETOOLS))

    for part, name in ((settings, "port"), (settings.segment, "host"), (settings.commercetools, "scopes")):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, "anything")


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        texts
        | st.sampled_from(["none", "oidc", "every", "http://[", "https://[::1]:x", "//", "http://\u2100.example.com"]),
    )
)
def test_any_environment_gives_settings_or_one_sentence(environment: dict[str, str]) -> None:
    try:
        settings = settings_from(environment)
    except ConfigError as error:
        assert any(name in str(error) for name in NAMES)  # noqa: PT017  # raising and not raising are both right
    else:
        assert settings.segment.write_key


def assert_one_sentence_about(name: str, text: str) -> None:
    assert text.startswith(f"{name} must ")
    assert text.endswith(".")
    assert "\n" not in text
