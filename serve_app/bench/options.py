"""Reading the options that typer has no type for."""

import json
from typing import Any

import typer


def positive_numbers(values: str, option: str) -> list[float]:
    """The numbers of a comma-separated option, all above 0."""
    try:
        found = [float(value) for value in values.split(",")]
    except ValueError:
        found = [0.0]
    if any(not 0 < value < float("inf") for value in found):
        raise typer.BadParameter(f"{values!r} are not numbers above 0", param_hint=option)
    return found


def positive_integers(values: str, option: str) -> list[int]:
    """The whole numbers of a comma-separated option, all above 0."""
    found = positive_numbers(values, option)
    if any(value != int(value) for value in found):
        raise typer.BadParameter(f"{values!r} are not whole numbers", param_hint=option)
    return [int(value) for value in found]


def json_object(text: str, option: str) -> dict[str, Any]:
    """The JSON object of an option."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint=option) from error
    if not isinstance(found, dict):
        raise typer.BadParameter("not a JSON object", param_hint=option)
    return found
