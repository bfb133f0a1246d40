"""What a pipeline says, in the languages of a workflow: expressions of GitHub, and words for bash. Pure.

GitHub puts the value of ``${{ ... }}`` into the text of a script before any shell reads it; whoever chooses
the value then writes the script (GitHub, "Security hardening for GitHub Actions", script injections). So no
parameter ever stands in a script: each is an environment variable, and the script names the variable.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NoReturn

from serinus.errors import PipelineError
from serinus.pipeline import Parameter, Value, when
from serinus.pipeline.words import put_in, text_of

PREFIX = "PARAM_"
"""How the variables begin that hold parameters."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,-]*")
Kind = Literal["truth", "number", "text"]
_KINDS: Mapping[str, Kind] = {"bool": "truth", "int": "number", "float": "number", "str": "text"}
_SIGNS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_TODO = "Write the condition otherwise, or start this pipeline with `serinus run` in a workflow of your own."


def variables(parameters: Iterable[Parameter]) -> dict[str, str]:
    """The environment variable of each parameter, by the parameter's name.

    Raises:
        PipelineError: two parameters would share one.
    """
    found: dict[str, str] = {}
    for parameter in parameters:
        variable = PREFIX + parameter.name.upper()
        if variable in found.values():
            other = next(name for name, taken in found.items() if taken == variable)
            raise PipelineError(
                f"the parameters {other} and {parameter.name} differ in case alone, and a workflow holds "
                f"both in {variable}",
                "Rename one of them.",
            )
        found[parameter.name] = variable
    return found


def string(text: str) -> str:
    """A text inside an expression."""
    return "'" + text.replace("'", "''") + "'"


def literal(text: str) -> str:
    """A text outside of expressions, in which GitHub is to find none."""
    return text.replace("${{", "${{ '${{' }}")


def valued(value: Value) -> str:
    """A parameter's value inside an expression, as the text that its variable holds."""
    return string(text_of(value))


def filled(text: str, names: Mapping[str, str]) -> str:
    """A text with parameters in it, as the value of a variable: ``{epochs}`` is an expression."""
    parts = put_in(text, {name: f"\0{name}\0" for name in names}).split("\0")
    return "".join(
        f"${{{{ env.{names[part]} }}}}" if number % 2 else literal(part) for number, part in enumerate(parts)
    )


def script(words: Sequence[str], names: Mapping[str, str]) -> str:
    """A command for bash, on one line.

    Args:
        words: of the command; ``{epochs}`` stands for a parameter.
        names: the variable of each parameter.
    """
    return " ".join(_word(word, names) for word in words)


def _word(word: str, names: Mapping[str, str]) -> str:
    parts = put_in(word, {name: f"\0{name}\0" for name in names}).split("\0")
    if len(parts) > 1 and all(_PLAIN.fullmatch(part) for part in parts[::2]):
        return "".join(f"${{{names[part]}}}" if n % 2 else part for n, part in enumerate(parts)).join('""')
    pieces = [f'"${names[part]}"' if n % 2 else _quoted(part) for n, part in enumerate(parts) if part]
    return "".join(pieces) or "''"


def _quoted(text: str) -> str:
    if not text.isprintable():  # a line break would end the command, or the script's indentation would count
        escaped = "".join(_escaped(sign) for sign in text)
        return f"$'{escaped}'".replace("${{", "$''{{")
    # What is quoted stands in single quotes: ending them there and going on keeps GitHub from seeing "${{".
    return shlex.quote(text).replace("${{", "$''{{")


def _escaped(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if sign.isprintable():
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"


def condition(text: str, parameters: Iterable[Parameter], where: Callable[[str], str]) -> str:
    """A step's ``when`` as an expression of GitHub.

    GitHub compares texts without regard to case (GitHub, "Evaluate expressions in workflows and actions").
    So two texts are compared only where no choice of the parameter differs from another in case alone.

    Args:
        text: the condition.
        parameters: of the pipeline.
        where: gives the expression of the text that a parameter's variable holds.

    Raises:
        PipelineError: GitHub would not decide as Serinus does.
    """
    translate = _Condition(text, {parameter.name: parameter for parameter in parameters}, where)
    tree = when.parse(text)
    found = translate.truth(tree)
    return found[1:-1] if isinstance(tree, ast.BoolOp) else found  # it stands alone


class _Condition:
    def __init__(self, text: str, parameters: Mapping[str, Parameter], where: Callable[[str], str]) -> None:
        self._text = text
        self._parameters = parameters
        self._where = where

    def truth(self, node: ast.expr) -> str:
        """A part of the condition, as something that is true or false."""
        found, kind = self._translated(node)
        return {"truth": found, "number": f"{found} != 0", "text": f"{found} != ''"}[kind]

    def _translated(self, node: ast.expr) -> tuple[str, Kind]:  # noqa: PLR0911  a kind of node each
        match node:
            case ast.BoolOp(op=op, values=parts):
                sign = " && " if isinstance(op, ast.And) else " || "
                return f"({sign.join(map(self.truth, parts))})", "truth"
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return f"!({self.truth(part)})", "truth"
            case ast.UnaryOp(operand=ast.Constant(value=value)):
                return f"-{value!r}", "number"
            case ast.Name(id=name):
                return self._named(name)
            case ast.Constant(value=bool() as value):
                return text_of(value), "truth"
            case ast.Constant(value=str() as value):
                return string(value), "text"
            case ast.Constant(value=value):
                return repr(value), "number"
            case ast.Compare():
                return self._compared(node), "truth"
        raise AssertionError(node)  # what parse lets through is one of these

    def _named(self, name: str) -> tuple[str, Kind]:
        if name not in self._parameters:
            return name, "truth"  # the words true and false
        kind = _KINDS[self._parameters[name].type]
        held = self._where(name)
        return {"truth": f"{held} == 'true'", "number": f"fromJSON({held})", "text": held}[kind], kind

    def _compared(self, node: ast.Compare) -> str:
        nodes = [node.left, *node.comparators]
        pairs = [
            self._pair(left, type(op), right)
            for left, op, right in zip(nodes, node.ops, nodes[1:], strict=False)
        ]
        return pairs[0] if len(pairs) == 1 else f"({' && '.join(pairs)})"

    def _pair(self, left: ast.expr, op: type[ast.cmpop], right: ast.expr) -> str:
        (one, kind), (other, another) = self._translated(left), self._translated(right)
        if kind != another:
            self._refuse(f"a {kind} is compared with a {another}")
        if kind == "text":
            if op not in {ast.Eq, ast.NotEq}:
                self._refuse("texts are put in an order, which GitHub does by numbers alone")
            if not (self._told_apart(left, right) or self._told_apart(right, left)):
                self._refuse(
                    "GitHub compares texts without regard to case, and this is no comparison of a parameter "
                    "that has choices with one of them"
                )
        if kind == "truth":
            one, other = f"({one})", f"({other})"
        return f"{one} {_SIGNS[op]} {other}"

    def _told_apart(self, name: ast.expr, value: ast.expr) -> bool:
        """Whether a parameter's choices can be told apart by GitHub, and the value is one of them."""
        match name, value:
            case ast.Name(id=known), ast.Constant(value=str() as text) if known in self._parameters:
                choices = self._parameters[known].choices
                return text in choices and len({str(each).lower() for each in choices}) == len(choices)
        return False

    def _refuse(self, why: str) -> NoReturn:
        raise PipelineError(f"the condition {self._text!r} cannot be left to GitHub: {why}", _TODO)
