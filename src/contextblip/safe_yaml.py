"""YAML from anywhere: plain values only, not nested without end, no aliases that blow a file up."""

from __future__ import annotations

from typing import Any

import yaml

# what aliases may stand for; published files and our own configurations have none
MOST_ALIASED_VALUES = 100_000
MOST_LEVELS = 100


class BoundsError(yaml.MarkedYAMLError):
    """YAML that is nested too deeply or whose aliases go too far."""


class Bounds:
    """Makes a loader of PyYAML refuse deep nesting, and aliases that contain themselves or stand for much.

    A file of a few lines can name lists of lists of lists, and what walks over the values then never ends;
    many opening brackets in a row end the process where libyaml reads them, which descends level by level.
    """

    _level = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: object) -> None:
        """Count the levels; PyYAML calls this on the way down to each value.

        Args:
            current_node: What holds the value.
            current_index: Its place.

        Raises:
            BoundsError: There are too many.
        """
        self._level += 1
        if self._level > MOST_LEVELS and current_node is not None:
            raise _refusal(current_node, f"its values are nested more than {MOST_LEVELS} levels deep")
        super().descend_resolver(current_node, current_index)  # type: ignore[misc]  # the loader's

    def ascend_resolver(self) -> None:
        """Count back; PyYAML calls this on the way up."""
        self._level -= 1
        super().ascend_resolver()  # type: ignore[misc]  # the loader's

    def get_single_node(self) -> yaml.Node | None:
        """Parse a document.

        Returns:
            Its root.

        Raises:
            BoundsError: Its aliases go too far.
        """
        node: yaml.Node | None = super().get_single_node()  # type: ignore[misc]  # the loader's
        if node is not None:
            _check_aliases(node)
        return node


class SafeLoader(Bounds, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, libyaml's where it is there (a tenth of the time), with bounds."""


class StrictLoader(Bounds, yaml.SafeLoader):
    """A YAML loader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping with distinct keys.

        Args:
            node: The mapping.
            deep: Whether its values are constructed at once.

        Returns:
            The mapping.

        Raises:
            yaml.MarkedYAMLError: A key stands twice or is no word.
        """
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a word, no list or mapping", problem_mark=key_node.start_mark
                )
            key = key_node.value
            if key in lines and key != "<<":
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            lines[key] = key_node.start_mark.line
        return super().construct_mapping(node, deep)


def load_yaml(text: str, loader: Any = SafeLoader) -> Any:  # noqa: ANN401  # YAML holds anything
    """Load a YAML document.

    Args:
        text: The document.
        loader: A safe loader's class, with `Bounds`.

    Returns:
        Its content.

    Raises:
        yaml.YAMLError: It is no YAML, goes beyond the bounds, or holds a value that there is none of, such
            as a date of month 13.
    """
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506  # callers give safe ones
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        raise yaml.YAMLError(str(error)) from error


def check_yaml(text: str) -> None:
    """Check a document that another loader reads afterwards.

    Args:
        text: The document.

    Raises:
        yaml.YAMLError: It is no YAML or goes beyond the bounds.
    """
    yaml.compose(text, Loader=SafeLoader)


def _check_aliases(root: yaml.Node) -> None:
    """Count the values with every alias written out, each node looked at once."""
    sizes: dict[int, int] = {}
    above: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting[-1]
        parts = _parts(node)
        if id(node) in sizes:
            waiting.pop()
        elif id(node) in above:  # its parts are counted by now
            above.remove(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
        else:
            above.add(id(node))
            for part in parts:
                if id(part) in above:
                    raise _refusal(part, "an alias stands inside of what it names")
            waiting += [part for part in parts if id(part) not in sizes]
    if sizes[id(root)] > max(len(sizes), MOST_ALIASED_VALUES):
        raise _refusal(root, f"its aliases stand for more than {MOST_ALIASED_VALUES:,} values")


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refusal(node: yaml.Node, problem: str) -> BoundsError:
    return BoundsError(problem=problem, problem_mark=node.start_mark)
