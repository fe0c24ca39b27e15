"""Triton's interpreter, without two parts of its work that no result depends on.

The first took 0.4 of the 0.7 s of a large convolution, the second 45 % of an elementwise launch.
"""

from dataclasses import replace
from typing import Any

import pytest
from triton.runtime import interpreter


def without_idle_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip them until `monkeypatch` is undone."""
    # It computes every sum and product of integers again in 64 bits. What it learns of an overflow
    # goes into an assertion that exists in its debug mode only.
    builder = interpreter.interpreter_builder
    assert not builder.options.debug
    quiet = replace(builder.options, sanitize_overflow=False)
    monkeypatch.setattr(builder, "options", quiet)

    # It replaces Triton's functions by its own at every launch, and again at every call of a
    # function within the kernel: those replacements are never undone, so one for each is enough.
    replaced: set[Any] = set()

    def call(function: interpreter.InterpretedFunction, *args: Any, **kwargs: Any) -> Any:
        if function.fn not in replaced:
            replaced.add(function.fn)
            interpreter._patch_lang(function.fn)
        return function.rewrite()(*args, **kwargs)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
