"""JMESPath: what an expression reads, what is said of one that will not do, and that evaluating never fails."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.commercetools.resource import UNREADABLE
from service.serving.expressions import BadExpression, Expression, compile_expression
from tests.strategies import json_values


def compiled(text: str) -> Expression:
    expression = compile_expression(text)
    assert isinstance(expression, Expression)
    return expression


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("email", [("email",)], id="a field"),
        pytest.param("custom.points > `1000`", [("custom", "points")], id="a comparison"),
        pytest.param('custom."loyalty-tier"', [("custom", "loyalty-tier")], id="a quoted name"),
        pytest.param("custom.a || custom.b", [("custom", "a"), ("custom", "b")], id="an alternative"),
        pytest.param("custom.a && !(custom.b)", [("custom", "a"), ("custom", "b")], id="a logical expression"),
        pytest.param("custom.a.b.c", [("custom", "a", "b", "c")], id="a field in a field"),
        pytest.param("custom.list[0].x", [("custom", "list")], id="an index"),
        pytest.param("custom.list[1:3]", [("custom", "list")], id="a slice"),
        pytest.param("custom.list[*].x", [("custom", "list")], id="a projection"),
        pytest.param("custom.list[].x", [("custom", "list")], id="a flattened one"),
        pytest.param("custom.a.*", [("custom", "a")], id="an object's values"),
        pytest.param("custom.list[?x > `1`].y | [0]", [("custom", "list")], id="a filter"),
        pytest.param("custom.[a, b]", [("custom", "a"), ("custom", "b")], id="a list of several"),
        pytest.param("custom.{x: a, y: b}", [("custom", "a"), ("custom", "b")], id="an object of several"),
        pytest.param("{x: custom.a, y: email}", [("custom", "a"), ("email",)], id="an object at the root"),
        pytest.param("custom | points", [("custom", "points")], id="a pipe"),
        pytest.param("@.custom.points", [("custom", "points")], id="from the current node"),
        pytest.param("join(' ', [firstName, lastName])", [("firstName",), ("lastName",)], id="a function"),
        pytest.param("max_by(custom.orders, &price).id", [("custom", "orders")], id="an expression as an argument"),
        pytest.param("length(custom.list[?contains(@, 'x')])", [("custom", "list")], id="a function in a filter"),
        pytest.param("merge(custom.a, custom.b, custom.a)", [("custom", "a"), ("custom", "b")], id="many arguments"),
        pytest.param("`true`", [], id="a constant"),
    ],
)
def test_an_expression_tells_what_it_reads_from_the_root(text: str, fields: list[tuple[str, ...]]) -> None:
    assert list(compiled(text).fields) == fields


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("custom.points >", "is no JMESPath expression, at its character 16", id="half a comparison"),
        pytest.param("custom points", "is no JMESPath expression, at its character 8", id="two words"),
        pytest.param("custom.loyalty-tier", "is no JMESPath expression, at its character 15", id="a hyphen"),
        pytest.param("a.#", "is no JMESPath expression, at its character 3", id="an unknown character"),
        pytest.param("a || `1", "is no JMESPath expression, at its character 6", id="a constant without an end"),
        pytest.param(f"a[{'1' * 5000}]", "is no JMESPath expression", id="an index of 5,000 digits"),
        pytest.param("(" * 3000 + "a" + ")" * 3000, "is nested too deeply", id="3,000 parentheses"),
        pytest.param("(" * 3000, "is nested too deeply", id="3,000 of them, not closed"),
        pytest.param("!" * 3000 + "a", "is nested too deeply", id="3,000 negations"),
        pytest.param("!" * 50 + "a", "is nested too deeply", id="50 negations"),
        pytest.param("lenght(a)", "calls lenght(), which does not exist", id="an unknown function"),
        pytest.param("a[?lenght(@)]", "calls lenght(), which does not exist", id="one in a filter"),
        pytest.param("sort_by(a, &lenght(b))", "calls lenght(), which does not exist", id="one in an argument"),
        pytest.param("length(a, b)", "calls length() with 2 arguments; it takes 1", id="too many arguments"),
        pytest.param("join(a)", "calls join() with 1 arguments; it takes 2", id="too few"),
        pytest.param("not_null()", "calls not_null() with 0 arguments; it takes at least 1", id="none"),
        pytest.param("@", "reads the whole customer: name the fields", id="everything"),
        pytest.param("to_string(@)", "reads the whole customer: name the fields", id="everything, in a function"),
        pytest.param("*", "reads the whole customer: name the fields", id="every value"),
        pytest.param("keys(@)", "reads the whole customer: name the fields", id="every key"),
        pytest.param("[0]", "reads the whole customer: name the fields", id="an element of everything"),
    ],
)
def test_an_expression_that_will_not_do_is_told(text: str, reason: str) -> None:
    bad = compile_expression(text)

    assert isinstance(bad, BadExpression)
    assert bad.reason == reason


def test_a_misspelt_function_is_told_with_those_that_exist() -> None:
    bad = compile_expression("lenght(a)")

    assert isinstance(bad, BadExpression)
    assert bad.word == "lenght"
    assert {"length", "join", "not_null"} <= set(bad.known)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("custom.points > `1000`", True, id="a comparison"),
        pytest.param("custom.gone > `1000`", None, id="a comparison with what is absent"),
        pytest.param("custom.gone", None, id="absent"),
        pytest.param("custom.name > `1000`", UNREADABLE, id="a bare TypeError inside"),
        pytest.param("abs(custom.name)", UNREADABLE, id="a function of another type"),
        pytest.param("custom.list[::0]", UNREADABLE, id="a slice of step 0"),
        pytest.param("sort(custom.mixed)", UNREADABLE, id="a sort of what has no order"),
        pytest.param("custom.no || custom.points", 1200, id="false is skipped by ||"),
        pytest.param("not_null(custom.gone, custom.no)", False, id="but not by not_null"),
    ],
)
def test_evaluating_gives_the_value_or_none_or_unreadable(text: str, value: object) -> None:
    view = {"custom": {"points": 1200, "name": "many", "list": [1, 2], "mixed": [1, "x"], "no": False}}

    assert compiled(text).evaluate(view) == value


EXPRESSIONS = [
    *("custom.a", "custom.a > `1`", "sum(custom.a)", "avg(custom.a)", "max_by(custom.a, &b)", "sort(custom.a)"),
    *("to_number(custom.a)", "join(', ', custom.a)", "custom.a[?b == `1`].c | [0]", "custom.a[::-1]", "keys(custom.a)"),
    *("merge(custom.a, custom.b)", "map(&a, custom.a)", "reverse(custom.a)", "length(custom.a || `[]`)"),
]


@given(st.sampled_from(EXPRESSIONS), json_values, json_values)
@example("sum(custom.a)", [1e308, 1e308, -1e308], None)
def test_evaluating_never_raises(text: str, first: Any, second: Any) -> None:  # noqa: ANN401  # any JSON
    compiled(text).evaluate({"custom": {"a": first, "b": second}})


@pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")  # `a` for 'a'
@given(st.text(max_size=30) | st.text(alphabet="abc.[]()*&|@`'\"\\{}?!<>=-0123456789 ,:", max_size=40))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    assert isinstance(compile_expression(text), Expression | BadExpression)


def test_without_the_package_an_expression_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['jmespath'] = None\n"
        "from service.serving.expressions import compile_expression\n"
        "print(compile_expression('email'))"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603  # our own words

    assert ran.stdout == "needs the package jmespath: pip install 'commercetools-segment[expr]'\n"


def test_without_an_expression_the_package_is_not_imported() -> None:
    program = (
        "import sys; sys.modules['jmespath'] = None\n"
        "from service.serving.toml_file import toml_of\n"
        "from service.transformation.rules import shop_mapping\n"
        "print(len(shop_mapping(toml_of(b'version = 1', 'm.toml')).identify.traits))"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603  # our own words

    assert int(ran.stdout) > 0
