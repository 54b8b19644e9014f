"""Text from logs and stacks made safe to show: nothing invisible, nothing that acts."""

from __future__ import annotations

import unicodedata

# Cc control, Cf format (bidi overrides, zero width), Cs lone surrogates, Zl/Zp separators:
# they move cursors, colour terminals, reorder letters or hide them.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str) -> str:
    r"""The text on one line, with every control, format and bidi character written as `\x1b`."""
    return "".join(
        _escaped(character) if unicodedata.category(character) in _HIDDEN else character
        for character in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
