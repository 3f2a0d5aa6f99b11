"""JMESPath for the mapping file's `expr`: compiled and checked once, then evaluated without an exception.

jmespath checks the name and the arguments of a function when it evaluates it; here, its syntax tree is checked first.
https://jmespath.org/specification.html
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from service.commercetools.resource import UNREADABLE

_DEEPEST = 40


class BadExpression(Exception):
    """An expression cannot be used. `reason` is the end of a sentence that begins with the key of the rule.

    `word` is what is at fault, and `known` are the words that exist, for a suggestion.
    """

    def __init__(self, reason: str, word: str = "", known: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.word = word
        self.known = known


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `fields` are the chains of names that it reads from the root: ("custom", "points")."""

    text: str
    fields: tuple[tuple[str, ...], ...]
    evaluate: Callable[[Mapping[str, Any]], Any]
    """Return the value, None if there is none, or UNREADABLE if the functions or operators do not fit the value."""


def compile_expression(text: str) -> Expression | BadExpression:
    """Compile an expression, or return what is wrong with it."""
    try:
        return _compiled(text)
    except BadExpression as bad:
        return bad


def _compiled(text: str) -> Expression:
    try:
        jmespath = importlib.import_module("jmespath")
        functions = importlib.import_module("jmespath.functions")
        visitor = importlib.import_module("jmespath.visitor")
    except ImportError:
        raise BadExpression("needs the package jmespath: pip install 'commercetools-segment[expr]'") from None
    try:
        compiled = jmespath.compile(text)
        walk = _Walk(functions.Functions.FUNCTION_TABLE)
        walk.note(walk.step(compiled.parsed, ()))
    except RecursionError:
        raise BadExpression("is nested too deeply") from None
    except ValueError as error:  # jmespath's own are ValueErrors; an index with too many digits is a bare one
        position = getattr(error, "lex_position", None)
        where = f", at its character {position + 1}" if isinstance(position, int) else ""
        raise BadExpression(f"is no JMESPath expression{where}") from None
    # compiled.search makes an interpreter for each value, which takes longer than all the rest.
    interpreter = visitor.TreeInterpreter()

    def evaluate(view: Mapping[str, Any]) -> Any:  # noqa: ANN401  # any JSON
        try:
            return interpreter.visit(compiled.parsed, view)
        except Exception:  # noqa: BLE001  # whatever does not fit, a bare TypeError among it: the message must not fail
            return UNREADABLE

    return Expression(text, tuple(walk.read), evaluate)


class _Walk:
    """Goes through a syntax tree, checks the calls of functions, and collects what is read from the root.

    `step` gets the chain of names that a node starts from: () at the root, None where that is a value in an array or
    the result of a function. It returns the chain at which the node ends, in the same way.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self._depth = 0
        self.read: dict[tuple[str, ...], None] = {}

    def note(self, chain: "_Chain") -> None:
        if chain == ():
            raise BadExpression("reads the whole customer: name the fields")
        if chain is not None:
            self.read[chain] = None

    def step(self, node: Mapping[str, Any], chain: "_Chain") -> "_Chain":
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BadExpression("is nested too deeply")
        end = self._step(node, chain)
        self._depth -= 1
        return end

    def _step(self, node: Mapping[str, Any], chain: "_Chain") -> "_Chain":
        children = [child for child in node["children"] if isinstance(child, dict)]  # the others are a slice's numbers
        match node["type"]:
            case "field":
                return None if chain is None else (*chain, node["value"])
            case "current" | "identity":
                return chain
            case "subexpression" | "pipe":
                for child in children:
                    chain = self.step(child, chain)
                return chain
            case "projection" | "value_projection" | "filter_projection" | "index_expression" | "flatten":
                self.note(self.step(children[0], chain))
                for child in children[1:]:
                    self.step(child, None)
                return None
            case "expref":
                self.step(children[0], None)
                return None
            case "function_expression":
                _check_call(node["value"], len(children), self._table)
        for child in children:
            self.note(self.step(child, chain))
        return None


_Chain = tuple[str, ...] | None


def _check_call(name: str, given: int, table: Mapping[str, Any]) -> None:
    function = table.get(name)
    if function is None:
        raise BadExpression(f"calls {name}(), which does not exist", name, tuple(table))
    signature = function["signature"]
    variadic = bool(signature) and signature[-1].get("variadic")
    if given < len(signature) or (given > len(signature) and not variadic):
        least = "at least " if variadic else ""
        raise BadExpression(f"calls {name}() with {given} arguments; it takes {least}{len(signature)}")
