"""Predicates hold for whom commercetools' documentation says, and what is no predicate is refused with its place."""

import pytest

from playground.predicates import CUSTOMER, PredicateError, parsed

MIRA = {
    "id": "c-1",
    "version": 4,
    "email": "Mira@example.com",
    "firstName": 'Mira "M"',
    "customerNumber": "a",
    "isEmailVerified": True,
    "dateOfBirth": "1990-02-03",
    "createdAt": "2026-01-02T03:04:05.678Z",
    "customerGroup": {"typeId": "customer-group", "id": "g-1"},
    "customerGroupAssignments": [{"customerGroup": {"typeId": "customer-group", "id": "g-2"}}],
    "stores": [{"typeId": "store", "key": "x"}],
    "addresses": [{"country": "DE", "city": "Berlin"}, {"country": "AT", "city": "Wien"}],
    "shippingAddressIds": ["s-1", "s-2"],
    "billingAddressIds": [],
    "custom": {"type": {"typeId": "type", "id": "t-1"}, "fields": {"shoe-size": 38, "tags": ["a"], "vip": True}},
}


@pytest.mark.parametrize(
    "where",
    [
        'customerGroup(id="g-1")',
        'customerGroupAssignments(customerGroup(id in ("g-2", "g-3")))',
        "lastName is not defined",
        "firstName is defined",
        r'firstName = "Mira \"M\""',
        'addresses(country="DE")',
        'addresses(country="DE" and city="Berlin")',
        'not(addresses(country="DE" and city="Wien"))',
        'stores(key="x")',
        'customerNumber in ("a","b")',
        'customerNumber not in ("b")',
        'isEmailVerified = true and customerNumber = "a"',
        'isEmailVerified=false or customerNumber="a"',
        'id="x" and id="y" or id="c-1"',
        '(id="c-1" or id="x") and customerNumber="a"',
        'not (id = "x")',
        'id="c-1" AND NOT(lastName IS DEFINED)',
        'id <> "x"',
        'id != "x"',
        'lastName <> "x"',
        'shippingAddressIds contains any ("s-2", "s-3")',
        'shippingAddressIds contains all ("s-1", "s-2")',
        'not(shippingAddressIds contains all ("s-1", "s-3"))',
        "billingAddressIds is empty",
        "addresses is not empty",
        "version >= 4 and version < 5",
        'createdAt > "2026-01-02T04:04:05+01:00"',
        'dateOfBirth < "1990-02-04"',
        'lowercaseEmail = "mira@example.com"',
        "customerGroup is defined",
        "custom(fields(`shoe-size` = 38 and vip = true))",
        'custom(fields(tags contains any ("a", "b")))',
        "custom(fields(`shoe-size` > 37.5))",
        "id = :one",
        "id in :several",
        "id in (:one, :other)",
        "version = :number and isEmailVerified = :flag",
    ],
)
def test_a_predicate_that_describes_the_customer_holds(where: str) -> None:
    variables = {"one": ["c-1"], "other": ["c-2"], "several": ["c-2", "c-1"], "number": ["4"], "flag": ["true"]}

    assert parsed(where, variables, CUSTOMER).holds(MIRA)


@pytest.mark.parametrize(
    "where",
    [
        'customerGroup(id="g-2")',
        'customerGroup(id is not defined) and id="c-1"',
        "lastName is defined",
        'lastName = "x"',
        'lastName > "a"',
        'lastName in ("x")',
        'addresses(country="CH")',
        'addresses(country="DE" and city="Wien")',
        'id="c-1" and not(version = 4)',
        'id="x" or id="y"',
        'shippingAddressIds contains any ("s-3")',
        "shippingAddressIds is empty",
        'custom(fields(`shoe-size` > "a"))',
        'custom(fields(lowercaseEmail = "mira@example.com"))',
        'createdBy(clientId="x")',
    ],
)
def test_a_predicate_that_does_not_describe_the_customer_does_not_hold(where: str) -> None:
    assert not parsed(where, {}, CUSTOMER).holds(MIRA)


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("", "Unexpected end of input, expected not or conditional expression (line 1, column 1)"),
        ("id", "Unexpected end of input, expected a comparison (line 1, column 3)"),
        ("id =", "Unexpected end of input, expected a value (line 1, column 5)"),
        ('id = "a', "Invalid input '\"' (line 1, column 6)"),
        ("id = a", "Invalid input 'a', expected a value"),
        ('id is "a"', "Invalid input"),
        ('id not "a"', "Invalid input"),
        ("id is not", "Unexpected end of input, expected a comparison"),
        ('id like "a"', "Invalid input 'l', expected a comparison"),
        ('id in "a"x', "Invalid input 'a', expected '('"),
        ('id in ("a"', "Unexpected end of input, expected comma or ')'"),
        ('id in ("a" "b")', "Invalid input 'b', expected comma or ')' (line 1, column 12)"),
        ("id in ()", "Invalid input ')', expected a value"),
        ('id = "a" and', "expected not or conditional expression"),
        ('id = "a" id = "b"', "expected 'and', 'or' or end of input"),
        ('not id = "a"', "Invalid input 'i', expected '('"),
        ('(id = "a"', "expected ')'"),
        ('id = "a")', "expected 'and', 'or' or end of input"),
        ('id = "a\\n"', "Invalid input '\\'"),
        ("id = 'a'", "Invalid input ''' (line 1, column 6)"),
        ("id == 1", "Invalid input '=', expected a value"),
        ("version = 4x", "Invalid input '4'"),
        ("shoe = 38", "The field 'shoe' does not exist."),
        ('addresses(planet = "Earth")', "The field 'planet' does not exist."),
        ('id(x = "a")', "The field 'id' has no fields."),
        ('customerGroup = "g-1"', "The field 'customerGroup' cannot be compared by '='."),
        ('addresses contains any ("a")', "The field 'addresses' cannot be compared by 'contains any'."),
        ("id is empty", "The field 'id' cannot be compared by 'is empty'."),
        ("id = 1", "The field 'id' is compared with a value of another type."),
        ('isEmailVerified = "true"', "The field 'isEmailVerified' is compared with a value of another type."),
        ("id = :missing", "The variable 'missing' is not defined."),
        ("id = :two", "The field 'id' is compared with one value."),
        ("version = :two", "The field 'version' is not compared with 'a'."),
        ('lastModifiedAt > "yesterday"', "The field 'lastModifiedAt' is not compared with 'yesterday'."),
        ('lastModifiedAt > "2026-01-01T00:00:00"', "is not compared with '2026-01-01T00:00:00'."),
        ('dateOfBirth = "3.2.1990"', "The field 'dateOfBirth' is not compared with '3.2.1990'."),
        pytest.param("(" * 100_000, "The predicate is nested too deeply.", id="nested too deeply"),
    ],
)
def test_what_is_no_predicate_is_refused_with_what_is_wrong(where: str, problem: str) -> None:
    with pytest.raises(PredicateError) as refusal:
        parsed(where, {"two": ["a", "b"]}, CUSTOMER)

    assert problem in str(refusal.value)
