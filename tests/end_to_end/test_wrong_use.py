"""Wrong use is answered, not traced: one clear error, the right exit code, nothing half-written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay.logs.parquet import write_day
from tests.end_to_end.workplace import DAY, Ran, Workplace


@pytest.fixture
def own(workplace: Workplace, tmp_path: Path) -> Workplace:
    """A workplace of the test's own, to be damaged: the artifacts and one day."""
    shutil.copy(workplace.folder / "parity.yaml", tmp_path)
    shutil.copytree(workplace.folder / "artifacts", tmp_path / "artifacts")
    day = f"date={DAY}"
    shutil.copytree(workplace.folder / "logs" / day, tmp_path / "logs" / day)
    return Workplace(folder=tmp_path)


def assert_answered(ran: Ran, code: int, *says: str) -> None:
    """One error with its three parts, on standard error, and no traceback."""
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert ran.err.count("where:") == ran.err.count("fix:") == 1, ran.err
    for text in says:
        assert text in ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--date", "2026-01-08", "--reference", "legacy", "--challenger", "prot"), ("'prot'", "port")),
        (("--date", "2026-01-30", "--reference", "legacy", "--challenger", "cpp"), ("2026-01-30", DAY)),
        (("--date", "08.01.2026", "--reference", "legacy", "--challenger", "cpp"), ("'08.01.2026'",)),
        (("--date", DAY, "--reference", "legacy", "--challenger", "no_such:opener"), ("no_such",)),
        (("--date", DAY, "--reference", "legacy", "--challenger", "cpp", "--plant", "nudge:logit"), ("nudge", "scale")),
        (("--date", DAY, "--reference", "legacy", "--challenger", "cpp", "--plant", "scale:features.prize"), ("features.price",)),
        (("--date", DAY, "--reference", "legacy", "--challenger", "cpp", "--resume", "runs/none"), ("runs/none",)),
    ],
)  # fmt: skip
def test_what_is_asked_for_wrongly_is_refused_with_what_there_is(
    own: Workplace, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    ran = own.run("parity", "replay", *arguments)

    assert_answered(ran, 2, *says)
    assert own.runs() == set()


def test_an_error_in_the_configuration_names_line_and_column(own: Workplace) -> None:
    path = own.folder / "parity.yaml"
    path.write_text(path.read_text().replace("outputs: bounded", "outputs: bouned", 1))

    assert_answered(own.replay("cpp"), 2, "parity.yaml:", "bouned", "bounded")


def cut(path: Path) -> None:
    """The first two thirds of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path) -> None:
    """One byte changed, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


ARTIFACTS = [
    ("cpp", "artifacts/cpp/scorer.bin"),
    ("port", "artifacts/legacy/booster.json"),
    ("port", "artifacts/legacy/regression.npz"),
    ("port", "artifacts/legacy/features.json"),
    ("modern", "artifacts/modern/weights.safetensors"),
]


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(("challenger", "file"), ARTIFACTS)
def test_a_damaged_artifact_is_refused_by_name(
    own: Workplace, challenger: str, file: str, damage: Callable[[Path], None]
) -> None:
    damage(own.folder / file)

    ran = own.replay(challenger)

    assert_answered(ran, 2, Path(file).name)
    assert own.runs() == set()


def test_artifacts_of_two_trainings_are_not_compared(own: Workplace, workplace: Workplace) -> None:
    trained = workplace.run(
        "legacy", "train", "--logs", "logs", "--features", "synthetic", "--seed", 8,
        "--out", own.folder / "other",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    own.succeed("legacy", "export", "--artifact", "other", "--out", "artifacts/cpp/scorer.bin")

    ran = own.replay("cpp")

    assert_answered(ran, 2, "different trainings")
    assert own.runs() == set()


def test_a_file_of_another_training_is_refused(own: Workplace, workplace: Workplace) -> None:
    workplace.run(
        "legacy", "train", "--logs", "logs", "--features", "synthetic", "--seed", 8,
        "--out", own.folder / "other",
    )  # fmt: skip
    shutil.copy(own.folder / "other" / "regression.npz", own.folder / "artifacts" / "legacy")

    assert_answered(own.replay("port"), 2, "regression.npz")


def test_a_truncated_log_is_refused_before_the_first_request(own: Workplace) -> None:
    (part,) = (own.folder / "logs" / f"date={DAY}").glob("part-*.parquet")
    cut(part)

    ran = own.replay("cpp")

    assert_answered(ran, 2, part.name)
    assert own.runs() == set()


def test_a_row_with_a_missing_field_is_rejected_counted_and_shown(own: Workplace) -> None:
    (part,) = (own.folder / "logs" / f"date={DAY}").glob("part-*.parquet")
    table = pq.read_table(part)
    times = table.column("logged_at").to_pylist()
    times[7] = None
    place = table.schema.get_field_index("logged_at")
    bad = table.set_column(place, "logged_at", pa.array(times, table.schema.field(place).type))
    write_day(own.folder / "logs", date.fromisoformat(DAY), [bad], schema=bad.schema)

    ran = own.replay("cpp")

    requests = ran.verdict["requests"]
    assert ran.code == 0
    assert requests["rejected"] == {"missing_field": 1}
    assert requests["read"] == 1100 == requests["compared"] + 1
    assert requests["examples"][0]["request_id"] == table.column("request_id")[7].as_py()
    strict = own.run("parity", "replay", "--date", DAY, "--reference", "legacy", "--challenger", "cpp", "--strict")  # fmt: skip
    assert_answered(strict, 4, "logged_at", "row 7")


def served_by_the_scorer(own: Workplace, tamper: str | None) -> None:
    """Rewrite the day as production's scorer served it, one feature of one ad in ten tampered."""
    from cpp_serving.stack import open_stack
    from replay.request import batch_from_records

    (part,) = (own.folder / "logs" / f"date={DAY}").glob("part-*.parquet")
    batch = batch_from_records(pq.read_table(part))
    stack = open_stack(own.folder / "artifacts" / "cpp" / "scorer.bin")
    trace = stack.score(batch, capture=list(stack.checkpoints))
    requests = batch.keys.request_of("candidate")
    features = {}
    for name, checkpoint in stack.checkpoints.items():
        if checkpoint.stage == "feature":
            values = trace[name] if checkpoint.rows == "candidate" else trace[name][requests]
            features[name.removeprefix("features.")] = values
    if tamper is not None:
        features[tamper] = np.where(np.arange(len(requests)) % 10 == 0, features[tamper] * 60, features[tamper]).astype("float32")  # fmt: skip
    served = pa.StructArray.from_arrays([pa.array(v) for v in features.values()], list(features))
    lists = batch.records.column("candidates")
    fields = {f.name: lists.values.field(f.name) for f in lists.values.type} | {
        "served_rank": pa.array(trace["rank"]),
        "served_pctr": pa.array(trace["pctr"]),
        "served_features": served,
    }
    candidates = pa.ListArray.from_arrays(
        lists.offsets, pa.StructArray.from_arrays(list(fields.values()), list(fields))
    )
    columns = {name: batch.records.column(name) for name in batch.records.schema.names}
    table = pa.table(columns | {"candidates": candidates})
    write_day(own.folder / "logs", date.fromisoformat(DAY), [table], schema=table.schema)


def test_a_replay_that_reproduces_what_was_served_says_so(own: Workplace) -> None:
    served_by_the_scorer(own, tamper=None)

    ran = own.replay("port")

    fidelity = ran.verdict["fidelity"]
    assert (ran.code, fidelity["status"]) == (0, "reproduced")
    assert fidelity["fields"]["features.ad_ctr"] == {"rows": 11_000, "differing": 0}


def test_one_tampered_served_feature_is_named_and_is_never_parity(own: Workplace) -> None:
    served_by_the_scorer(own, tamper="ad_ctr")

    ran = own.replay("port")

    fidelity = ran.verdict["fidelity"]
    differing = {name for name, counts in fidelity["fields"].items() if counts["differing"]}
    assert (ran.code, fidelity["status"]) == (3, "differs")
    assert differing == {"features.ad_ctr"}
