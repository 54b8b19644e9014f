"""What a bundle says is read as it was written, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parity.explain.reproduce import check_bundle
from parity.explain.reproduce_bundle import folder_name, read_bundle
from parity.planting import plant
from replay.errors import ConfigError
from tests.parity.explain.bundles import (
    TOY,
    planted,
    the_bundle,
    toy,
    written,
)
from tests.toys import ToyStack


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return the_bundle(written(tmp_path, toy(features__price=1.5)))


def test_a_bundle_is_found_by_its_number(bundle: Path) -> None:
    assert read_bundle(bundle.parent / "1")[0].checkpoint == "features.price"


@pytest.mark.parametrize("place", ["", "causes", "causes/7", "nowhere/at/all"])
def test_where_no_bundle_is_those_nearby_are_offered(bundle: Path, place: str) -> None:
    run = bundle.parents[1]

    with pytest.raises(ConfigError, match="there is no bundle") as caught:
        read_bundle(run / place)

    assert (str(bundle) in caught.value.fix) == (place != "nowhere/at/all")


def _edited(bundle: Path, **changes: object) -> None:
    path = bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": "parity.bundle/2"}, "parity.bundle/2"),
        ({"schema": None}, "None"),
        ({"checkpoint": 3}, "found 3"),
        ({"values": {}}, "expected a value"),
        ({"extra": 1}, "no further field"),
        ({"plan": {"loose": True}}, "loose"),
        ({"request_digest": "sha256:0"}, "not the one it was"),
    ],
)
def test_a_foreign_or_damaged_description_is_refused(
    bundle: Path, changes: dict[str, object], says: str
) -> None:
    _edited(bundle, **changes)

    with pytest.raises(ConfigError, match=says):
        check_bundle(bundle)


@pytest.mark.parametrize("text", ["", "[]", "{", "nul", "[" * 100_000])
def test_what_is_no_json_object_is_refused(bundle: Path, text: str) -> None:
    (bundle / "bundle.json").write_text(text)

    with pytest.raises(ConfigError):
        check_bundle(bundle)


def test_a_damaged_request_is_refused(bundle: Path) -> None:
    path = bundle / "request.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(ConfigError, match="not the one it was"):
        check_bundle(bundle)


def test_a_missing_request_is_refused(bundle: Path) -> None:
    (bundle / "request.parquet").unlink()

    with pytest.raises(ConfigError, match=r"request.*can not be read"):
        check_bundle(bundle)


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("features.price", "1-features.price"),
        ("/layers/0/Add_output", "1-layers_0_Add_output"),
        ("../../etc", "1-etc"),
        ("...", "1-checkpoint"),
        ("Größe", "1-Gr_e"),
        ("x" * 300, "1-" + "x" * 80),
    ],
)
def test_a_folder_s_name_is_never_a_path(checkpoint: str, name: str) -> None:
    assert folder_name(1, checkpoint) == name


def test_plants_travel_with_the_bundle(tmp_path: Path) -> None:
    challenger = planted(TOY, "scale:features.price")

    bundle, _ = read_bundle(the_bundle(written(tmp_path, challenger)))

    assert bundle.challenger.spec() == challenger
    stack = plant(ToyStack(), [])
    assert bundle.reference.digest == stack.identity().digest


def test_the_same_probe_writes_the_same_bytes(tmp_path: Path) -> None:
    first = the_bundle(written(tmp_path / "a", toy(left=1.5)))
    second = the_bundle(written(tmp_path / "b", toy(left=1.5)))

    for name in ("request.parquet", "bundle.json", "test_reproduce.py"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
