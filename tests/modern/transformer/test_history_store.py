from __future__ import annotations

import shutil
import zlib
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modern.__main__ import main
from modern.transformer.artifact import load_artifact
from modern.transformer.history_store import INDEX, RefusedEntryError, open_store
from modern.transformer.precompute import artifact_key, precompute
from modern.transformer.stack import TransformerStack, open_stack
from modern.transformer.training_config import ModernConfig
from replay.errors import ArtifactError, ConfigError
from replay.logs.parquet import open_day, read_shard, write_day
from replay.request import RequestBatch
from tests.builders import SCHEMA, a_candidate, a_request, a_step, at, batch_of, table_of
from tests.modern.small_transformer import CONFIG, config, write_artifact

DAY = date(2019, 11, 30)
USER_PATH = "user.segment"  # the field of tests.builders' log that can be an id
WIDE: ModernConfig = replace(CONFIG, history=replace(CONFIG.history, max_old=6, max_recent=3))


def history_of(number: int, *, until: date) -> list[dict[str, Any]]:
    """A step each ten hours, from three weeks before the day on."""
    rng = np.random.default_rng(number)
    first = at("2019-11-10 00:00") + timedelta(hours=3 * number)
    steps = [
        a_step(
            int(rng.integers(30)),
            at=first + timedelta(hours=10 * i),
            action=("click", "view", None)[int(rng.integers(3))],
            advertiser_id=(1, 2**24 + 1, 2**40 + 1)[int(rng.integers(3))],
        )
        for i in range(60)
    ]
    return [step for step in steps if step["at"].date() < until]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve users on two days; the last one is new on the second."""
    root = tmp_path_factory.mktemp("logs")
    for day in (DAY - timedelta(days=1), DAY):
        records = [
            a_request(
                f"r-{day}-{number}",
                logged_at=at(f"{day} 0{number % 10}:30"),
                user={"segment": f"user-{number}"},
                history=history_of(number, until=day),
                candidates=[a_candidate(ad, price=7.0 * ad + number) for ad in range(1, 6)],
            )
            for number in range(12 if day == DAY else 11)
        ]
        write_day(root, day, [table_of(*records)], schema=SCHEMA)
    return root


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("modern") / "artifact", of=WIDE)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, logs: Path, artifact: Path) -> Path:
    out = tmp_path_factory.mktemp("store") / "store"
    precompute(load_artifact(artifact), logs, DAY, out, user_path=USER_PATH)
    return out


@pytest.fixture(scope="module")
def batch(logs: Path) -> RequestBatch:
    return read_shard(open_day(logs, DAY).shards[0]).batch


def logits(stack: TransformerStack, batch: RequestBatch) -> np.ndarray:
    return stack.score(batch, capture=("logit",))["logit"]


def test_what_was_computed_before_the_day_gives_what_is_computed_online(
    artifact: Path, store: Path, batch: RequestBatch
) -> None:
    online, offline = open_stack(artifact), open_stack(artifact, store=str(store))
    bound = online.checkpoints["logit"].rounding
    assert bound is not None

    ours, theirs = logits(online, batch), logits(offline, batch)

    assert offline.lookups == {"used": 11, "absent": 1}
    assert np.abs(ours - theirs).max() <= 2 * bound.absolute
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


def test_the_store_is_really_used(artifact: Path, store: Path, batch: RequestBatch) -> None:
    """Other values under the right keys give other logits: nothing is computed behind its back."""
    offline = open_stack(artifact, store=str(store))
    assert offline.store is not None
    values = offline.store.values * np.float32(1.5)
    bounds = pairwise(offline.store.offsets)
    checksums = np.array([zlib.crc32(values[a:b].tobytes()) for a, b in bounds], dtype=np.uint32)
    moved = replace(offline.store, values=values, checksums=checksums)

    found = logits(replace(offline, store=moved), batch)

    differs = np.abs(found - logits(offline, batch)) > 1e-3
    assert differs[: 11 * 5].any() and not differs[11 * 5 :].any()


def test_a_replays_screen_uses_the_store(artifact: Path, store: Path, batch: RequestBatch) -> None:
    """It records features, every exact checkpoint and the outputs."""
    online, offline = open_stack(artifact), open_stack(artifact, store=str(store))
    screened = [
        name
        for name, checkpoint in online.checkpoints.items()
        if checkpoint.exact or checkpoint.stage in {"feature", "output"}
    ]
    assert "step_tokens.age" in screened

    ours, theirs = (s.score(batch, capture=screened) for s in (online, offline))

    assert offline.lookups["used"] == 11
    for name in screened:
        if online.checkpoints[name].exact:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_run_that_looks_inside_of_the_history_computes_it(
    artifact: Path, store: Path, batch: RequestBatch
) -> None:
    online, offline = open_stack(artifact), open_stack(artifact, store=str(store))
    everything = tuple(online.checkpoints)

    ours, theirs = (s.score(batch, capture=everything) for s in (online, offline))

    assert not offline.lookups
    for name in everything:
        np.testing.assert_array_equal(ours[name], theirs[name])


def changed_history(batch: RequestBatch) -> RequestBatch:
    """Of one user steps were removed, of another changed, after the store was computed."""
    rows = batch.records.to_pylist()
    del rows[0]["history"][-20:-6]
    for step in rows[1]["history"]:
        step["advertiser_id"] = None
    return batch_of(*rows)


def test_a_changed_history_makes_an_entry_stale_and_it_is_computed(
    artifact: Path, store: Path, batch: RequestBatch
) -> None:
    changed = changed_history(batch)
    online, offline = open_stack(artifact), open_stack(artifact, store=str(store))

    ours, theirs = logits(online, changed), logits(offline, changed)

    assert offline.lookups == {"used": 9, "changed_history": 2, "absent": 1}
    np.testing.assert_array_equal(ours[:5], theirs[:5])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


def test_requests_of_another_day_do_not_use_it(artifact: Path, store: Path, logs: Path) -> None:
    yesterday = read_shard(open_day(logs, DAY - timedelta(days=1)).shards[0]).batch
    online, offline = open_stack(artifact), open_stack(artifact, store=str(store))

    ours, theirs = logits(online, yesterday), logits(offline, yesterday)

    assert offline.lookups == {"other_day": 11}
    np.testing.assert_array_equal(ours, theirs)


def test_a_damaged_entry_is_noticed_and_computed(
    tmp_path: Path, artifact: Path, store: Path, batch: RequestBatch
) -> None:
    damaged = tmp_path / "store"
    shutil.copytree(store, damaged)
    data = bytearray((damaged / "values.npy").read_bytes())
    data[-5] ^= 1  # within the last user's values
    (damaged / "values.npy").write_bytes(data)
    offline = open_stack(artifact, store=str(damaged))

    found = logits(offline, batch)

    assert offline.lookups == {"used": 10, "damaged": 1, "absent": 1}
    np.testing.assert_allclose(found, logits(open_stack(artifact), batch), rtol=0, atol=2e-5)


def test_a_refusal_says_what_where_and_what_to_do(artifact: Path, store: Path) -> None:
    opened = open_store(store, weights=artifact_key(load_artifact(artifact)))

    with pytest.raises(
        RefusedEntryError, match=r"(?s)the store is for 2019-11-30.*fix:"
    ) as refused:
        opened.entry("user-1", day=date(2019, 12, 1), history="0" * 64)
    assert refused.value.reason == "other_day"
    with pytest.raises(RefusedEntryError, match=r"(?s)the request has 000000.*user 'user-1'"):
        opened.entry("user-1", day=DAY, history="0" * 64)
    with pytest.raises(RefusedEntryError, match="has no entry"):
        opened.entry("user-99", day=DAY, history="0" * 64)


def test_a_store_of_other_weights_is_refused_when_it_is_opened(tmp_path: Path, store: Path) -> None:
    other = write_artifact(tmp_path / "other", of=WIDE, seed=1, training_id="a" * 32)

    with pytest.raises(ArtifactError, match="computed by the weights"):
        open_stack(other, store=str(store))


@pytest.mark.parametrize("name", [*INDEX, "manifest.json", "values.npy"])
def test_a_store_whose_parts_were_changed_or_lost_is_refused(
    tmp_path: Path, artifact: Path, store: Path, name: str
) -> None:
    broken = tmp_path / "store"
    shutil.copytree(store, broken)
    data = (broken / name).read_bytes()
    (broken / name).write_bytes(data[:-3])

    with pytest.raises(ArtifactError):
        open_stack(artifact, store=str(broken))


@pytest.mark.parametrize("form", ["no_history", "early_fusion"])
def test_a_model_without_a_shared_old_segment_has_no_store(
    tmp_path: Path, logs: Path, form: Any
) -> None:
    folder = write_artifact(tmp_path / "artifact", of=config(form=form))

    with pytest.raises(ConfigError, match="has no old segment that requests share"):
        precompute(load_artifact(folder), logs, DAY, tmp_path / "store", user_path=USER_PATH)


def test_one_command_computes_a_day(
    tmp_path: Path, artifact: Path, logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    arguments = ["precompute", "--logs", str(logs), "--artifact", str(artifact), "--out", str(out)]

    assert main([*arguments, "--date", str(DAY), "--user", USER_PATH]) == 0
    assert "old steps of 11 users" in capsys.readouterr().out
    assert main([*arguments, "--date", str(DAY), "--user", USER_PATH]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main([*arguments, "--date", "2019-11-29", "--user", USER_PATH]) == 2
    assert "nothing is logged before" in capsys.readouterr().err
