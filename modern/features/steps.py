"""Features of the steps of a history: the list `history` that extends a features.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modern.features.columns import SOURCES
from modern.features.discrete import Bucket, Hash, Id
from modern.features.numeric import Log1p, Number, Recency
from modern.features.spec import DiscreteSpec, FeatureSpec, broken, spec_from_json
from replay.errors import ArtifactError

FORMAT = "parity.history_features/1"
PREFIX = "history."
STEP_KINDS: Mapping[str, type[FeatureSpec]] = MappingProxyType(
    {kind.kind: kind for kind in (Number, Log1p, Recency, Bucket, Hash, Id)}
)


def steps_from_json(
    entries: object, features: Sequence[FeatureSpec], *, where: str
) -> tuple[tuple[FeatureSpec, ...], dict[str, str]]:
    """The step features of a feature set, and which candidate feature each of them is like.

    An entry reads `history.<field>`, next to sources of the request. A discrete one may be
    `"like"` a candidate's feature: it takes what it does not state itself (a vocabulary, a seed)
    from there, and the model embeds both by one table, so that an ad is the same ad whether it
    was seen or competes now.

    Args:
        entries: The JSON list.
        features: The features of request and candidate.
        where: Leads to the file, for errors.

    Returns:
        The features, each named `history.<name>`; and name to the name of the one it is like.

    Raises:
        ArtifactError: An entry breaks a rule.
    """
    if not isinstance(entries, list):
        raise broken(f"'history' is {entries!r}, no list of step features", where)
    by_name = {feature.name: feature for feature in features}
    steps: list[FeatureSpec] = []
    likes: dict[str, str] = {}
    for place, entry in enumerate(entries):
        here = f"{where}, history[{place}]"
        if not isinstance(entry, dict):
            raise broken(f"{entry!r} is no step feature", here)
        stated = dict(entry)
        like = stated.pop("like", None)
        if like is not None:
            stated = _taken_from(like, by_name, here) | stated
        step = _step(stated, here)
        if like is not None:
            likes[step.name] = like
            if getattr(by_name[like], "cardinality", None) != getattr(step, "cardinality", 0):
                raise broken(
                    f"it has another number of codes than {like!r}, which it is like", here
                )
        if any(step.name == earlier.name for earlier in steps):
            raise broken(f"two step features are called {step.name!r}", where)
        steps.append(step)
    return tuple(steps), likes


def extended(features_json: bytes, history: Path) -> bytes:
    """A features.json with the step features of a file of FORMAT put into it.

    Raises:
        ArtifactError: The file can not be read, or the feature set has step features already.
    """
    try:
        value = json.loads(history.read_bytes())
    except (OSError, ValueError) as error:
        raise _unreadable(f"the step features can not be read: {error}", history) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _unreadable(f"the format is not {FORMAT!r}", history)
    whole = json.loads(features_json)
    if not isinstance(whole, dict) or "history" in whole:
        raise _unreadable("the feature set has a 'history' of its own", history)
    whole["history"] = value.get("history")
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()


def _taken_from(like: object, by_name: Mapping[str, FeatureSpec], where: str) -> dict[str, Any]:
    model = by_name.get(like) if isinstance(like, str) else None
    if not isinstance(model, DiscreteSpec) or model.axis != "candidate":
        known = [
            n for n, f in by_name.items() if isinstance(f, DiscreteSpec) and f.axis == "candidate"
        ]
        raise broken(
            f"it is like {like!r}, no discrete feature of the candidate (known: {', '.join(known)})",
            where,
        )
    values = {f.name: getattr(model, f.name) for f in fields(model)}
    own = ("name", "source", "sources")
    return {"kind": model.kind} | {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name not in own
    }


def _step(entry: dict[str, Any], where: str) -> FeatureSpec:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in STEP_KINDS:
        raise broken(f"{kind!r} is no kind of step feature (known: {', '.join(STEP_KINDS)})", where)
    if not isinstance(entry.get("name"), str) or not entry["name"]:
        raise broken(f"{entry.get('name')!r} is no name", where)
    named = entry | {"name": PREFIX + entry["name"]}
    sources = (*(s for s in SOURCES if s != "candidate."), PREFIX)
    step = spec_from_json(STEP_KINDS[kind], named, where=where, sources=sources)
    if step.axis != "step":
        raise broken(f"{step.name!r} reads no field of the history", where)
    return step


def _unreadable(what: str, path: Path) -> ArtifactError:
    return broken(what, str(path))
