"""Why pydantic did not take what a client sent, in words that name the argument and say what would be right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from meshfleet.mesh.texts import shown

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_TOLD: Final = 5
"""Wrong arguments that a refusal tells of one by one."""
_LONGEST_PLAIN_NAME: Final = 64
"""Characters of an argument's name that a refusal tells as it is."""
_VARIABLES: Final = "env"
"""The argument whose values may be secrets."""
_PARAMS: Final = "params"
"""What every request of the protocol has its arguments in, so that naming it tells nothing."""


def wrong_arguments(tool: str, known: Sequence[str], error: ValidationError) -> str:
    """Why a tool's arguments were not taken.

    Args:
        tool: Its name.
        known: The names of the arguments it takes.
        error: What pydantic found.
    """
    return _told(error, lambda problem: _argument_problem(tool, known, problem))


def wrong_params(method: str, error: ValidationError) -> str:
    """Why the parameters of a request of the protocol were not taken."""
    return _told(error, lambda problem: _param_problem(method, problem))


def _told(error: ValidationError, tell: Callable[[ErrorDetails], str]) -> str:
    # of the forms a parameter may have, each complains of the same
    problems = list(dict.fromkeys(tell(problem) for problem in error.errors(include_url=False)))
    more = [f"and {len(problems) - _TOLD} more"] if len(problems) > _TOLD else []
    return "; ".join(problems[:_TOLD] + more)


def _argument_problem(tool: str, known: Sequence[str], problem: ErrorDetails) -> str:
    location = problem["loc"]
    match problem["type"]:
        case "missing":
            return f"{_path(location)} is missing; {tool} needs it"
        case "extra_forbidden" if len(location) > 1:
            return f"{_path(location)} is nothing {tool} knows; leave it out"
        case "extra_forbidden":
            return f"{_path(location)} is no argument of {tool}, which takes {', '.join(known) or 'none'}"
        case _:
            return _wrong_value(location, problem)


def _param_problem(method: str, problem: ErrorDetails) -> str:
    location = problem["loc"][1:] if problem["loc"][:1] == (_PARAMS,) and len(problem["loc"]) > 1 else problem["loc"]
    if problem["type"] == "missing":
        return f"{_path(location)} is missing; {method} needs it"
    return _wrong_value(location, problem)


def _wrong_value(location: Location, problem: ErrorDetails) -> str:
    if _VARIABLES in location[:-1]:
        return f"{_path(location)} is not shown, but {_expected(problem)}"
    return f"{_path(location)} is {shown(problem['input'])}; {_expected(problem)}"


def _path(location: Location) -> str:
    path = ""
    for part in location:
        name = part if isinstance(part, int) or _is_plain(part) else shown(part)
        path += f"[{name}]" if isinstance(part, int) else f".{name}" if path else f"{name}"
    return path or "arguments"


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and len(name) <= _LONGEST_PLAIN_NAME


def _expected(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    expectations = {
        "string_type": "it has to be a string",
        "string_unicode": "it has to be valid Unicode, without lone surrogates",
        "int_type": "it has to be a whole number",
        "float_type": "it has to be a number",
        "finite_number": "it has to be a number within bounds",
        "bool_type": "it has to be true or false",
        "list_type": "it has to be an array",
        "model_type": "it has to be an object",
        "dict_type": "it has to be an object",
        "string_too_short": "it can't be empty",
        "too_short": "it can't be empty",
        "greater_than_equal": f"it has to be at least {context.get('ge')}",
        "less_than_equal": f"it has to be at most {context.get('le')}",
        "literal_error": f"it has to be {context.get('expected')}",
    }
    message = problem["msg"]
    return expectations.get(problem["type"], f"{message[:1].lower()}{message[1:]}")
