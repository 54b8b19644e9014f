"""`parity replay` as a user types it: translations agree, planted bugs are named, and only they."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.workplace import DAY, ROOT, Workplace


@pytest.mark.parametrize("challenger", ["cpp", "port"])
def test_a_true_translation_is_parity_on_every_request(
    workplace: Workplace, challenger: str
) -> None:
    ran = workplace.replay(challenger)

    verdict = ran.verdict
    assert (ran.code, verdict["verdict"], verdict["causes"]) == (0, "PARITY", [])
    assert verdict["requests"]["read"] == verdict["requests"]["compared"] == 1100
    assert verdict["candidates"] == 11_000
    assert verdict["canary"]["caught"]
    assert verdict["fidelity"]["status"] == "not_logged"
    jsonschema.validate(verdict, json.loads((ROOT / "docs" / "verdict.schema.json").read_text()))


@pytest.mark.parametrize(
    ("challenger", "plants"),
    [
        ("port", ["hour_shift:features.hour_tokyo", "scale:regression.leaf_sum"]),
        ("port", ["bucket_from_zero:features.age_bucket", "hash_encoding:features.title"]),
        ("port", ["nan_direction:gbdt.leaves", "swap_columns:features.ad_clicks"]),
        ("cpp", ["hash_seed:features.country", "tree_limit:regression.leaf_sum"]),
        ("cpp", ["permute_candidates:features.price", "scale:logit"]),
        ("cpp", ["rounding:features.ad_ctr", "weight_scale:regression.category_sum", "scale:pctr"]),
    ],
)
def test_every_planted_bug_is_named_and_nothing_else(
    workplace: Workplace, challenger: str, plants: list[str]
) -> None:
    arguments = [part for plant in plants for part in ("--plant", plant)]

    ran = workplace.replay(challenger, *arguments)

    assert (ran.code, ran.verdict["verdict"]) == (1, "DIVERGED")
    assert set(ran.causes) == {plant.partition(":")[2] for plant in plants}


def test_shares_and_remainder_add_up_to_the_gap(workplace: Workplace) -> None:
    ran = workplace.replay(
        "port", "--plant", "hour_shift:features.hour_tokyo", "--plant", "scale:logit"
    )

    shares = [cause["share_of_gap"] for cause in ran.verdict["causes"]]
    assert sum(shares) + ran.verdict["gap"]["remainder"] == pytest.approx(1.0)
    assert ran.verdict["gap"]["remainder"] < 0.01


def test_a_transformer_has_equal_features_and_a_statistical_verdict(workplace: Workplace) -> None:
    ran = workplace.replay("modern")

    verdict = ran.verdict
    features = [name for name in verdict["coverage"]["compared"] if name.startswith("features.")]
    metrics = {metric["name"]: metric for metric in verdict["metrics"]}
    assert verdict["plan"]["outputs"] == "statistical"
    assert len(features) == 28
    assert verdict["causes"] == []
    assert metrics["ne"]["low"] < metrics["ne"]["difference"] < metrics["ne"]["high"]
    assert metrics["ne"]["challenger"] < 0.95  # it has learnt: the prior's is 1
    assert ran.code == {"PARITY": 0, "DIVERGED": 1, "INCONCLUSIVE": 3}[verdict["verdict"]]


def test_a_transformer_with_a_mistranslated_feature_has_diverged(workplace: Workplace) -> None:
    ran = workplace.replay("modern", "--plant", "scale=86400:features.user_age_days")

    assert (ran.code, ran.causes) == (1, ["features.user_age_days"])


def test_a_run_directory_holds_everything(workplace: Workplace, tmp_path: Path) -> None:
    ran = workplace.replay("port", "--out", tmp_path, "--plant", "missing_zero_swap:features.price")

    (run,) = tmp_path.iterdir()
    table = pq.read_table(run / "features.parquet").to_pylist()
    price = next(row for row in table if "features.price" in row.values())
    assert ran.code == 1
    assert {"verdict.json", "report.html", "features.parquet", "summary.txt"} <= {
        p.name for p in run.iterdir()
    }
    assert json.loads((run / "verdict.json").read_text()) == ran.verdict
    assert sum(row != price and row["differing"] > 0 for row in table) == 0
    assert not re.search(
        r"(src|href)\s*=|url\(", (run / "report.html").read_text()
    )  # opens offline


def test_a_cause_leaves_one_small_request_that_fails_until_it_is_mended(
    workplace: Workplace, tmp_path: Path
) -> None:
    workplace.replay("port", "--out", tmp_path, "--plant", "missing_zero_swap:features.price")
    (run,) = tmp_path.iterdir()
    bundle = run / "causes" / "1"

    failing = workplace.run("parity", "reproduce", bundle)
    mended = workplace.run("parity", "reproduce", bundle, "--challenger", "port")

    (request,) = pq.read_table(run / "causes" / "1-features.price" / "request.parquet").to_pylist()
    assert (failing.code, mended.code) == (1, 0), failing.err + mended.err
    assert len(request["candidates"]) == 1
    assert "features.price" in failing.out


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        ("scale=86400:features.user_age_days", "seconds instead of days"),
        ("hour_shift:features.hour_tokyo", "9 hours later"),
        ("swap_columns:features.ad_impressions", "features.ad_clicks"),
        ("hash_seed:features.category", "another hash"),
        ("missing_zero_swap:features.price", "missing"),
    ],
)
def test_a_cause_says_why(workplace: Workplace, plant: str, says: str) -> None:
    ran = workplace.replay("port", "--plant", plant)

    (cause,) = ran.verdict["causes"]
    assert says in cause["diagnosis"]


def test_a_cause_says_for_whom_it_shows(workplace: Workplace) -> None:
    ran = workplace.replay("port", "--plant", "constant_default:features.price")

    (cause,) = ran.verdict["causes"]
    assert "price is missing" in cause["slice"]


def test_a_sample_is_chosen_by_request_and_accounted_for(workplace: Workplace) -> None:
    half, again = (
        workplace.replay("cpp", "--sample", 0.5),
        workplace.replay("port", "--sample", 0.5),
    )

    counts = half.verdict["requests"]
    assert 400 < counts["compared"] < 700
    assert counts["compared"] + counts["not_sampled"] == 1100
    assert counts == again.verdict["requests"]


def test_the_same_replay_gives_the_same_report(workplace: Workplace) -> None:
    plant = ("--plant", "scale:features.price")

    first = workplace.replay("cpp", *plant)
    uncached = workplace.replay("cpp", *plant, "--no-cache", "--workers", 2)

    assert first.verdict["report_digest"] == uncached.verdict["report_digest"]


def test_a_ray_cluster_of_two_nodes_gives_the_report_of_the_local_run(workplace: Workplace) -> None:
    pytest.importorskip("ray", reason="needs the [ray] extra")
    plant = ("--plant", "hash_seed:features.title", "--no-cache")

    local = workplace.replay("cpp", *plant)
    with two_nodes() as address:
        ray = workplace.replay(
            "cpp", *plant, "--engine", "ray", "--workers", 2, RAY_ADDRESS=address
        )

    assert (ray.code, ray.causes) == (1, ["features.title"]), ray.err
    assert ray.verdict["run"]["engine"] == "ray"
    assert ray.verdict["report_digest"] == local.verdict["report_digest"]


def test_the_gate_opens_for_the_judged_artifact_alone(workplace: Workplace, tmp_path: Path) -> None:
    workplace.replay("cpp", "--out", tmp_path)
    (run,) = tmp_path.iterdir()
    artifact = workplace.folder / "artifacts" / "cpp" / "scorer.bin"
    other = tmp_path / "other.bin"
    other.write_bytes(artifact.read_bytes() + b"\0")

    right = workplace.run("parity", "gate", run, "--artifact", artifact)
    wrong = workplace.run("parity", "gate", run, "--artifact", other)

    assert (right.code, wrong.code) == (0, 1), right.err + wrong.err


def test_a_team_s_own_two_stacks_are_compared(tmp_path: Path) -> None:
    """The example of the documentation, as it stands there."""
    own = Workplace(folder=tmp_path)
    config = ROOT / "examples" / "own_stacks" / "parity.yaml"
    own.succeed(
        "parity", "logs", "import", "synthetic", "--out", "logs", "--days", 1, "--requests", 60
    )

    ran = own.run(
        "parity", "replay", "--config", config, "--logs", "logs", "--out", "runs",
        "--no-cache", "--date", "2026-01-05", "--reference", "ours", "--challenger", "rewrite",
        "--format", "json",
    )  # fmt: skip

    assert (ran.code, ran.causes) == (1, ["features.age_days"])


CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a Ray cluster with a head that does no work and two nodes that do."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        try:
            yield next(
                line for line in cluster.stdout if re.fullmatch(r"[\d.]+:\d+\n", line)
            ).strip()
        finally:
            cluster.communicate("\n")


@pytest.fixture
def mutated(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a package in which lines of the source are changed."""

    def mutate(package: str, *changes: tuple[str, str, str]) -> Path:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
        for file, before, after in changes:
            path = tmp_path / package / file
            source = path.read_text()
            assert source.count(before) == 1, (
                f"{file} holds {before!r} {source.count(before)} times"
            )
            path.write_text(source.replace(before, after))
        return tmp_path

    return mutate


def test_three_mistakes_in_the_port_s_code_are_named_in_one_run(
    workplace: Workplace, mutated: Callable[..., Path]
) -> None:
    code = mutated(
        "modern",
        ("features/numeric.py", "(days + MONDAY_FIRST) % 7", "(days + MONDAY_FIRST + 1) % 7"),
        ("features/numeric.py", "(trials + self.weight)", "(trials + 2 * self.weight)"),
        ("port/model.py", "leaf_sum_C + category_sum_C", "leaf_sum_C + 1.001 * category_sum_C"),
    )

    ran = workplace.replay("port", code_from=code)

    assert ran.code == 1
    assert set(ran.causes) == {
        "features.weekday_tokyo", "features.user_ctr", "features.ad_ctr", "logit",
    }  # fmt: skip


def test_three_mistakes_in_the_scorer_s_code_are_named_in_one_run(
    workplace: Workplace, mutated: Callable[..., Path]
) -> None:
    """Compiled anew, with three lines of C++ changed."""
    code = mutated(
        "cpp_serving",
        ("src/features.cc", "x >= 0.0 ? logs.Of(x)", "x >= 0.0 ? logs.Of(x) / std::log(2.0)"),
        (
            "src/features.cc",
            "c = static_cast<char>(c - 'A' + 'a')",
            "c = static_cast<char>(c - 'A' + 'b')",
        ),
        (
            "src/features.cc",
            "history_at_.Int64(end - 1)",
            "history_at_.Int64(records_->StepBegin(request))",
        ),
    )
    _compile(code)

    ran = workplace.replay("cpp", code_from=code)

    assert ran.code == 1
    assert set(ran.causes) == {
        "features.user_age_days", "features.user_impressions", "features.ad_impressions",
        "features.ad_clicks", "features.history_age", "features.country", "features.title",
    }  # fmt: skip


def _compile(code: Path) -> None:
    """Build the extension of a copied cpp_serving into it."""
    import pybind11

    shutil.copy(ROOT / "CMakeLists.txt", code)
    cmake = Path(sys.executable).with_name("cmake")
    if not cmake.exists():
        pytest.skip("cmake is not installed beside this Python")
    for extension in (code / "cpp_serving").glob("_core*.so"):
        extension.unlink()
    configure = [
        f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={code / 'cpp_serving'}",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    ]
    build = str(code / "build")
    for step in (["-S", str(code), "-B", build, *configure], ["--build", build, "--parallel", "2"]):
        subprocess.run([str(cmake), *step], check=True, stdout=subprocess.DEVNULL)


def test_three_mistakes_in_the_legacy_code_are_named_in_one_run(
    workplace: Workplace, mutated: Callable[..., Path]
) -> None:
    code = mutated(
        "legacy",
        ("features.py", "MICROSECONDS_AN_HOUR % 24)", "MICROSECONDS_AN_HOUR % 12)"),
        ("features.py", 'math.log1p(len(row["history"]))', 'math.log1p(len(row["history"][1:]))'),
        ("features.py", "if step[field] == wanted)", "if step[field] != wanted)"),
    )

    ran = workplace.replay("port", "--no-cache", code_from=code)

    assert ran.code == 1
    assert set(ran.causes) == {
        "features.hour_tokyo", "features.history_length", "features.history_same_category",
        "features.history_same_bought",
    }  # fmt: skip
    assert DAY in ran.verdict["log"]["dates"]
