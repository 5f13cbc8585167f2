"""Check values from a file against the signature of what they are for, before it is called."""

import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict as PydanticConfig
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

KEYWORD_KINDS = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Argument:
    """One argument of a plan or a constructor."""

    name: str
    annotation: Any
    required: bool
    keyword_only: bool


def arguments(target: Callable[..., Any]) -> dict[str, Argument] | None:
    """Return the named arguments of `target`, or None if it takes any (`**kwargs`).

    :raises TypeError: annotations that cannot be resolved, or no signature at all.
    """
    try:
        signature = inspect.signature(target)
    except ValueError as error:
        raise TypeError(f"{target!r} has no readable signature") from error
    hinted = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(hinted, include_extras=True)
    except (NameError, TypeError) as error:
        raise TypeError(
            f"an annotation of {target.__qualname__} does not resolve: {error}"
        ) from error
    found = {}
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            return None
        if parameter.kind in KEYWORD_KINDS:
            found[name] = Argument(
                name,
                hints.get(name, Any),
                parameter.default is inspect.Parameter.empty,
                parameter.kind is inspect.Parameter.KEYWORD_ONLY,
            )
    return found


def check(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    *,
    given: Collection[str] = (),
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Check `values` as keyword arguments of `target`.

    :param given: names that are supplied by other means (a wire, a name, an instrument).
    :returns: the values as the annotations want them, and (key, message) of each mistake.
    """
    known = arguments(target)
    if known is None:
        return dict(values), []
    right, wrong = {}, []
    for name, value in values.items():
        if name not in known or name in given:
            allowed = ", ".join(sorted(set(known) - set(given) - {"name"})) or "none"
            wrong.append((name, f"is not an option of {_called(target)}; allowed are: {allowed}"))
            continue
        try:
            right[name] = convert(value, known[name].annotation)
        except ValueError as error:
            wrong.append((name, str(error)))
    missing = [a.name for a in known.values() if a.required and a.name not in values]
    wrong += [
        (name, f"is missing: {_called(target)} needs it") for name in missing if name not in given
    ]
    return right, wrong


def convert(value: Any, annotation: Any) -> Any:
    """Return `value` as `annotation` wants it.

    :raises ValueError: it is not one.
    """
    if isinstance(value, bool) and annotation in (int, float):
        raise ValueError(f"should be a number, not {value!r}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            annotation, config=PydanticConfig(allow_inf_nan=False)
        )
    except PydanticSchemaGenerationError:
        return value  # an annotation from elsewhere that pydantic does not know
    except PydanticUserError:  # the annotation brings a configuration of its own
        adapter = TypeAdapter(annotation)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        text = first["msg"].replace("Input should be", "should be").removeprefix("Value error, ")
        raise ValueError(f"{text}, not {value!r}") from error


def _called(target: Callable[..., Any]) -> str:
    return getattr(target, "__qualname__", repr(target))
