"""Money: exact inside, the nearest number at the end, and nothing guessed."""

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commercetools.customer import read_customer
from service.commercetools.money import Money, money_in, rounded, share
from service.transformation.paths import View
from service.transformation.values import As, conversion
from tests.builders import a_customer, euros
from tests.strategies import exact, moneys

MOST = 2**63


def cents(amount: object, currency: str = "EUR", digits: object = 2, **more: object) -> dict[str, Any]:
    money = {"type": "centPrecision", "currencyCode": currency, "centAmount": amount, "fractionDigits": digits, **more}
    return {name: value for name, value in money.items() if value is not None}


def precise(amount: object, digits: object, currency: str = "EUR") -> dict[str, Any]:
    return cents(1, currency, digits, type="highPrecision", preciseAmount=amount)


@pytest.mark.parametrize(
    ("raw", "number", "digits"),
    [
        pytest.param(cents(16110), "161.1", 2, id="cents"),
        pytest.param(cents(2000), "20", 2, id="a whole amount"),
        pytest.param(cents(0), "0", 2, id="nothing"),
        pytest.param(cents(-1), "-0.01", 2, id="below nothing"),
        pytest.param(cents(1500, "JPY", 0), "1500", 0, id="yen have no digits"),
        pytest.param(cents(1500, "JPY", None), "1500", 0, id="yen, digits left out"),
        pytest.param(cents(1500, "KWD", None), "1.5", 3, id="dinars, digits left out"),
        pytest.param(cents(15000, "CLF", None), "1.5", 4, id="four digits, left out"),
        pytest.param(cents(1500, "HUF", None), "15", 2, id="forints have two"),
        pytest.param(cents(1500, "QQQ", 3), "1.5", 3, id="a currency that ISO does not know"),
        pytest.param(cents(1500, "QQQ", None), "15", 2, id="a currency that ISO does not know, digits left out"),
        pytest.param(cents(1234, type=None), "12.34", 2, id="without a type"),
        pytest.param(precise(123456, 7), "0.0123456", 2, id="high precision"),
        pytest.param(precise(123456, 7, "JPY"), "0.0123456", 0, id="high precision of a currency without digits"),
        pytest.param(precise(1, 20), "1e-20", 2, id="the finest"),
        pytest.param({**precise(123456, 7), "type": None}, "0.0123456", 2, id="high precision without a type"),
        pytest.param(cents(2**53 + 1), "90071992547409.94", 2, id="beyond what a float holds: the nearest float"),
        pytest.param(cents(2**53 + 1, "JPY", 0), "9007199254740993", 0, id="beyond 2^53, and whole: exactly"),
        pytest.param(cents(MOST), "9.223372036854776e+16", 2, id="the largest"),
    ],
)
def test_money_is_read_exactly_and_written_as_the_nearest_number(raw: dict[str, Any], number: str, digits: int) -> None:
    money = money_in(raw)

    assert money is not None
    assert (json.dumps(money.number), money.digits, money.currency) == (number, digits, raw["currencyCode"])
    assert Fraction(money.fine, 10**20) == exact(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        cents(None),
        cents("100"),
        cents(1.0),
        cents(True),  # noqa: FBT003  # JSON's
        cents(MOST + 1),
        cents(10**400),
        cents(1, digits=-1),
        cents(1, digits=21),
        cents(1, digits="2"),
        cents(1, ""),
        cents(1, "eur"),
        cents(1, "EURO"),
        cents(1, "E\0R"),
        {**cents(1), "currencyCode": None},
        {**cents(1), "currencyCode": ["EUR"]},
        precise(None, 7),
        precise(123456, None),
        precise(1.5, 2),
        cents(1, type="otherPrecision"),
    ],
    ids=json.dumps,
)
def test_what_cannot_be_read_is_no_money_and_never_0(raw: dict[str, Any]) -> None:
    assert money_in(raw) is None


@given(moneys())
def test_a_custom_field_and_an_order_show_the_same_amount(raw: dict[str, Any]) -> None:
    money = money_in(raw)

    assert money is not None
    of_field = conversion(As.AMOUNT)(raw, View(read_customer(a_customer())))
    assert float(of_field) == float(money.number) == float(exact(raw))


@pytest.mark.parametrize(
    ("amount", "digits", "expected"),
    [
        pytest.param("0.005", 2, "0", id="half to even, down"),
        pytest.param("0.015", 2, "0.02", id="half to even, up"),
        pytest.param("-0.005", 2, "0", id="half below 0, to even"),
        pytest.param("-0.015", 2, "-0.02", id="half below 0, to even, down"),
        pytest.param("0.00500000000000000001", 2, "0.01", id="just above half"),
        pytest.param("1.5", 0, "2", id="no digits"),
        pytest.param("12.3456", 3, "12.346", id="three digits"),
    ],
)
def test_amounts_are_rounded_half_to_even(amount: str, digits: int, expected: str) -> None:
    assert rounded(fine(amount), digits) == fine(expected)


def fine(amount: str) -> int:
    return int(Fraction(amount) * 10**20)


def test_a_share_is_rounded_once() -> None:
    """Rounded to 20 digits first, it would be 0.005, and then even: 0.00 or 0.02."""
    whole = 10**25
    just_below = whole * 15 // 1000 - 1

    assert share(fine("1"), just_below, whole, 2) == fine("0.01")


@given(st.integers(-MOST, MOST), st.integers(-MOST, MOST), st.integers(1, MOST), st.integers(0, 4))
def test_a_share_is_what_fractions_say(amount: int, part: int, whole: int, digits: int) -> None:
    expected = round(Fraction(amount * part, whole) / 10**20, digits)  # Python rounds a Fraction half to even

    assert Fraction(share(amount, part, whole, digits), 10**20) == expected


def test_money_is_a_value() -> None:
    assert money_in(euros(10)) == Money(10 * 10**20, 2, "EUR")
