# SPDX-License-Identifier: Apache-2.0
"""YAML of model cards: plain data of a bounded size, whatever the file holds.

A small YAML file can stand for endless data (an anchor that is repeated and repeated) or for a tree
too deep to walk. Cards need none of this, so it is refused before anything is built from it.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 256_000
MAX_DEPTH = 20


class CardYamlError(ValueError):
    """A text is not the YAML of a model card."""


def read_card_yaml(text: str) -> Any:
    """Return the data of a card's text: mappings, lists, strings, numbers.

    Raises:
        CardYamlError: If the text is too long, is no YAML, nests too deep, repeats a key or has
            anchors, aliases or tags.
    """
    if len(text) > MAX_CHARACTERS:
        raise CardYamlError(f"expected at most {MAX_CHARACTERS} characters, got {len(text)}")
    try:
        return yaml.load(text, Loader=_PlainLoader)
    # Beyond its own errors, PyYAML lets those of dates, long numbers and unhashable keys through.
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise CardYamlError(str(error)) from error


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without anchors, aliases, tags, deep nesting or keys given twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _refused("anchors and aliases are not used in model cards", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"tag {event.tag} is not used in model cards", event)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"nested deeper than {MAX_DEPTH}", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(f"expected a name as key, got {key!r}", key_node)
            if key in seen:
                raise _refused(f"key {key!r} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _refused(text: str, where: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, where.start_mark)
