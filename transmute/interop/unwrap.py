"""Finds the networks in other tools' files, inside dictionaries and behind prefixes of names."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from transmute.errors import shortened
from transmute.interop.layouts import State
from transmute.interop.recognition import find_layout
from transmute.weights import WeightsError, require_plain

_MAX_DEPTH = 4
_MMGENERATION = ("generators", "discriminators")
_NETWORK = re.compile(
    r"(?i)(?:net_?|model_?)?(G|D|gen|generator|disc|discriminator)(?:_?(A2B|B2A|AB|BA|A|B))?"
    r"(?:_(?:state_dict|state|model|weights|ema))*"
)
"""Names of networks: netG, generator, G_A, netG_A2B, g_ema, generator_state_dict, ..."""


class _Found(NamedTuple):
    """A network in a file.

    Attributes:
        name: G or D, with its direction if it has one (G_A, G_AB); `generators.zebra` in files
            of mmgeneration; "" if the file has no name for it.
        wrappers: Keys of the dictionaries around it.
        prefixes: First parts of the names of its weights, which are removed.
        state: Its weights.
    """

    name: str
    wrappers: tuple[str, ...]
    prefixes: tuple[str, ...]
    state: State


def split_networks(content: Any, file: Path) -> tuple[dict[str, State], list[str]]:
    """Finds the networks in a file.

    Args:
        content: The unpickled content of the file.
        file: The file, for messages.

    Returns:
        The weights of each network by its name in the file ("" for the only one), and a line on
        what was removed and ignored, if any.

    Raises:
        WeightsError: If the content has no weights by name, or not plain, finite tensors.
    """
    if isinstance(content, Mapping) and content.keys() == {"state", "param_groups"}:
        raise WeightsError(
            f"{file} contains the state of an optimizer, without a network. Save the network: "
            'torch.save(network.state_dict(), "weights.pth")'
        )
    states = list(_states(content, (), set()))
    if not states:
        keys = list(content)[:4] if isinstance(content, Mapping) else []
        raise WeightsError(
            f"{file} contains no weights by name, as a checkpoint of a network does"
            + (f". It contains {', '.join(map(_shown, keys))}" if keys else "")
        )
    found = [one for wrappers, state in states for one in _networks(state, wrappers, ())]
    # Tools translate with the average of the weights over training, if there is one.
    found.sort(key=lambda one: "ema" not in re.split("[._]", ".".join(one[1] + one[2])))
    networks: dict[str, _Found] = {}
    for one in found:
        networks.setdefault(one.name, one)
    if not found:  # recognition will say that it is unknown
        wrappers, state = max(states, key=lambda one: len(one[1]))
        networks = {"": _Found("", wrappers, (), state)}
    for one in networks.values():
        for key, value in one.state.items():
            require_plain(_shown(key), value, file)
    notes = _notes(content, states, list(networks.values()), file) if found else []
    # The name of the file says more than that its only network is a generator.
    alone = len(networks) == 1 and not networks.keys().isdisjoint("GD")
    return {"" if alone else name: one.state for name, one in networks.items()}, notes


def _states(
    content: Any, wrappers: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], State]]:
    """All dictionaries with tensors, and the keys that lead to them, without repetitions."""
    if not isinstance(content, Mapping) or id(content) in seen or len(wrappers) > _MAX_DEPTH:
        return
    seen.add(id(content))
    if state := {str(key): value for key, value in content.items() if isinstance(value, Tensor)}:
        yield wrappers, state
        return
    for key, value in content.items():
        yield from _states(value, (*wrappers, str(key)), seen)


def _networks(
    state: State, wrappers: tuple[str, ...], prefixes: tuple[str, ...]
) -> Iterator[_Found]:
    """The known networks among weights, whose names may have prefixes."""
    if find_layout(state) is not None:
        yield _Found(_name((*wrappers, *prefixes)), wrappers, prefixes, state)
        return
    groups: dict[str, State] = {}
    for key, value in state.items():
        first, _, rest = key.partition(".")
        groups.setdefault(first, {})[rest] = value
    for first, group in groups.items() if len(prefixes) < _MAX_DEPTH else ():
        # A part of an unknown network may look like a network.
        is_network = first in _MMGENERATION or _NETWORK.fullmatch(first)
        if len(groups) == 1 or is_network or prefixes[-1:] in [(one,) for one in _MMGENERATION]:
            yield from _networks(group, wrappers, (*prefixes, first))


def _name(parts: tuple[str, ...]) -> str:
    """The name of a network, from the wrappers and prefixes around it."""
    for outer, inner in pairwise(parts):
        if outer in _MMGENERATION:
            return f"{outer}.{inner}"
    for part in reversed(parts):
        if match := _NETWORK.fullmatch(part):
            direction = (match[2] or "").upper().replace("2", "")
            return f"{match[1][0].upper()}{'_' * bool(direction)}{direction}"
    return ""


def _notes(
    content: Mapping[Any, Any],
    states: list[tuple[tuple[str, ...], State]],
    networks: list[_Found],
    file: Path,
) -> list[str]:
    """A line on the wrappers and prefixes that were removed, and on what was ignored, if any."""
    if any("." in one.name for one in networks):  # mmgeneration always writes such files
        return []
    heads = {one.wrappers[0] for one in networks if one.wrappers}
    used = {id(value) for one in networks for value in one.state.values()}
    ignored = [
        str(key)
        for key, value in content.items()
        if not isinstance(value, Tensor) and str(key) not in heads
    ]
    for wrappers, state in states:
        unused = ((*wrappers, *key.split(".")) for key in state if id(state[key]) not in used)
        ignored += (".".join(parts[: 1 + (parts[0] in heads)]) for parts in unused)
    actions = {
        "opened": [".".join(one.wrappers) for one in networks],
        "removed the prefix": [".".join((*one.prefixes, "")) for one in networks if one.prefixes],
        "ignored": ignored,
    }
    sentences = [
        f"{action} {', '.join(shortened(shown, 8))}"
        for action, keys in actions.items()
        if (shown := list(map(_shown, dict.fromkeys(filter(None, keys)))))
    ]
    return [f"{file}: {'; '.join(sentences)}"] if sentences else []


def _shown(key: object) -> str:
    """A key in quotes, shortened and without control characters."""
    return repr(str(key)[:60])
