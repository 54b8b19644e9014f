"""The verdict as JSON text: one line for a program, indented for a file that people open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def json_text(value: Mapping[str, Any]) -> str:
    """Indented JSON in the order of its fields, with a final newline.

    Raises:
        ValueError: A float that is not finite: JSON has none (see parity.judge.plain).
    """
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
