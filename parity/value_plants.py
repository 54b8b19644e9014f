"""The value plants: every kind of bug that works through values alone, on any stack."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from parity.value_kinds.clocks import CLOCK_KINDS
from parity.value_kinds.codes import CODE_KINDS
from parity.value_kinds.kind import Change, ValueKind
from parity.value_kinds.layers import LAYER_KINDS
from parity.value_kinds.numbers import NUMBER_KINDS
from parity.value_kinds.outputs import OUTPUT_KINDS
from parity.value_kinds.rows import ROW_KINDS
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError

VALUE_KINDS: Mapping[str, ValueKind] = MappingProxyType(
    {**NUMBER_KINDS, **CLOCK_KINDS, **CODE_KINDS, **ROW_KINDS, **LAYER_KINDS, **OUTPUT_KINDS}
)


def change_for(
    kind: str, argument: str | None, checkpoint: Checkpoint, graph: CheckpointGraph
) -> Change:
    """The bug of a kind at a checkpoint.

    Raises:
        ConfigError: It does not fit there, or its argument can not be used.
    """
    chosen = VALUE_KINDS[kind]
    if not checkpoint.settable or not chosen.fits(checkpoint, graph):
        places = [one.name for one in graph.values() if one.settable and chosen.fits(one, graph)]
        raise ConfigError(
            f"{kind!r} can not be planted at {checkpoint.name!r} "
            f"(possible at: {', '.join(places) or 'no checkpoint of this stack'}).",
            where="--plant",
            fix="choose another place or kind; --plant list says what there is",
        )
    return chosen.make(argument, checkpoint, graph)
