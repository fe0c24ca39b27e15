"""The types of `/v1/models`, under OpenAI's names."""

from typing import Literal

from serve_app.http.types import ApiAnswer


class Model(ApiAnswer):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(ApiAnswer):
    object: Literal["list"] = "list"
    data: list[Model]
