"""Docstrings as Markdown: what Sphinx and readers of the source understand, and Markdown does not."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")  # :class:`X` → `X`
BLOCK = re.compile(r"::$", re.MULTILINE)  # "as follows::" → "as follows:"
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)  # griffe knows "Examples:" only
SECTION = re.compile(r"^Args:\n(?:[ ].*\n?|\n)+", re.MULTILINE)
# "query, gallery: labels"
SHARED = re.compile(r"^( +)(\w+(?:, \w+)+):((?: .*)?(?:\n\1 +.*)*)$", re.MULTILINE)


class ReadAsMarkdown(griffe.Extension):
    """Changes each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe with each module, class, function and attribute that it read."""
        if obj.docstring:
            text = BLOCK.sub(":", ROLE.sub(r"`\1`", obj.docstring.value))
            text = EXAMPLE.sub("Examples:", text)
            obj.docstring.value = SECTION.sub(lambda section: SHARED.sub(_one_line_each, section[0]), text)


def _one_line_each(shared: re.Match[str]) -> str:
    """Arguments that share a description, each with the description."""
    indent, names, description = shared.groups()
    return "\n".join(f"{indent}{name}:{description}" for name in names.split(", "))
