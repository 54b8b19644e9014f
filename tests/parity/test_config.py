from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from parity.config import Config, json_schema, load_config
from parity.config_file import read_config_file
from replay.errors import ConfigError
from replay.registry import StackSpec

STACKS = """\
stacks:
  ours: {open: team.serving:open_stack, artifact: models/ours, options: {threads: 2}}
  theirs: {open: team.other:open_stack}
"""
STATISTICAL = """\
plans:
  - reference: "*"
    challenger: "*"
    outputs: statistical
    policy:
      ne_worse_by: {margin: 1e-3, why: "measured"}
      fidelity: require
      min_requests: 500
"""


def config_from(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "parity.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_paths_are_relative_to_the_file_and_not_to_the_reader(tmp_path: Path) -> None:
    config = config_from(tmp_path, f"logs: days\ncache: null\n{STACKS}")

    assert config.logs == tmp_path / "days"
    assert config.runs == tmp_path / "runs"
    assert config.cache is None
    assert config.specs()["ours"].artifact == tmp_path / "models/ours"


def test_an_absolute_path_stays_where_it_is(tmp_path: Path) -> None:
    assert config_from(tmp_path, "logs: /data/logs").logs == Path("/data/logs")


def test_a_stack_becomes_a_spec(tmp_path: Path) -> None:
    config = config_from(tmp_path, STACKS)

    assert config.spec("theirs") == StackSpec(name="theirs", opener="team.other:open_stack")
    assert config.spec("ours").options == {"threads": 2}
    assert config.spec("a.b:open_stack").opener == "a.b:open_stack"


def test_an_unknown_stack_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no stack is called 'oirs' \(known: .*ours.*theirs"):
        config_from(tmp_path, STACKS).spec("oirs")


PLANS = """\
plans:
  - {reference: ours, challenger: [theirs, "x*"], top_k: 5}
  - {reference: "*", challenger: "*", min_coverage: 0.5}
"""


@pytest.mark.parametrize(
    ("reference", "challenger", "top_k", "coverage"),
    [("ours", "theirs", 5, 1.0), ("ours", "xyz", 5, 1.0), ("theirs", "ours", 3, 0.5)],
)
def test_the_first_plan_that_fits_is_used(
    tmp_path: Path, reference: str, challenger: str, top_k: int, coverage: float
) -> None:
    plan = config_from(tmp_path, STACKS + PLANS).plan(reference, challenger)

    assert (plan.top_k, plan.min_coverage) == (top_k, coverage)


def test_a_pair_without_a_plan_is_answered_with_the_pairs_there_are(tmp_path: Path) -> None:
    config = config_from(tmp_path, STACKS + "plans: [{reference: ours, challenger: theirs}]")

    with pytest.raises(ConfigError, match=r"theirs -> ours \(known: ours -> theirs\)"):
        config.plan("theirs", "ours")


def test_a_plan_carries_everything_that_was_written(tmp_path: Path) -> None:
    config = config_from(
        tmp_path,
        """\
plans:
  - reference: "*"
    challenger: "*"
    renames: {theirs.age: features.age}
    tolerances:
      features.rate_*: {kind: ulps, value: 2, why: "two libraries"}
      logit: {kind: absolute, value: 1e-6, why: "gamma_n"}
    left_out: {debug.*: "printed"}
    probed: 8
""",
    )

    plan = config.plan("a", "b")

    assert plan.renames == {"theirs.age": "features.age"}
    assert plan.tolerances["features.rate_*"].value == 2.0
    assert plan.tolerances["logit"].value == 1e-6  # no string, as other YAML readers have it
    assert plan.left_out == {"debug.*": "printed"}
    assert plan.probed == 8


@pytest.mark.parametrize(
    ("text", "same"),
    [("", True), ("same_training: false", False)],
)
def test_a_translation_is_of_the_same_training_unless_said_otherwise(
    tmp_path: Path,
    text: str,
    same: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    config = config_from(tmp_path, f"plans:\n  - reference: '*'\n    challenger: '*'\n    {text}\n")

    assert config.plan("a", "b").same_training is same


def test_another_model_is_of_another_training_and_has_margins(tmp_path: Path) -> None:
    config = config_from(tmp_path, STATISTICAL)

    policy = config.policy("a", "b")

    assert config.plan("a", "b").same_training is False
    assert (policy.margins["ne"].worse_by, policy.margins["ne"].why) == (0.001, "measured")
    assert (policy.fidelity, policy.min_requests) == ("require", 500)


PLAN = "plans:\n  - reference: '*'\n    challenger: '*'\n"

WRONG = {
    "an unknown key": ("lgos: x", "1:1", "did you mean 'logs'"),
    "an unknown key within": ("stacks:\n  a:\n    opne: x.y:z", "3:5", "did you mean 'open'"),
    "a key nobody means": ("logs: x\nzzz: 1", "2:1", "'zzz' is no known key."),
    "a number for a path": ("logs: 5", "1:7", "'logs' is 5"),
    "a date for a path": ("logs: 2019-11-30", "1:7", "a date"),
    "no opener": ("stacks:\n  a: {artifact: x}", "2:6", "'stacks.a.open' is missing"),
    "no function": ("stacks:\n  a: {open: module}", "2:13", "package.module:function"),
    "another word": (f"{PLAN}    outputs: statistcal", "4:14", "did you mean 'statistical'"),
    "a bool as text": (f"{PLAN}    same_training: 'yes'", "4:20", "valid boolean"),
    "a negative number": (f"{PLAN}    top_k: 0", "4:12", "greater than or equal to 1"),
    "a share above one": (f"{PLAN}    min_coverage: 1.5", "4:19", "less than or equal to 1"),
    "not a number": (f"{PLAN}    min_coverage: .nan", "4:19", "nan"),
    "no reason": (f"{PLAN}    left_out: {{a: ''}}", "4:19", "at least 1 character"),
    "a blank reason": (f"{PLAN}    left_out: {{a: ' '}}", "4:19", "pattern"),
    "no bound": (
        f"{PLAN}    tolerances: {{a: {{kind: ulps, why: x}}}}", "4:21", "in ulps needs a value",
    ),
    "no margin": (f"{PLAN}    outputs: statistical", "2:5", "sets no margin"),
    "an unknown stack": (
        f"{STACKS}plans:\n  - reference: ours\n    challenger: [theirs, oours]",
        "6:26", "did you mean 'ours'",
    ),
    "an empty name": ("plans:\n  - reference: []\n    challenger: x*", "2:16", "a stack's name"),
    "a list at the top": ("- logs", "1:1", "a list"),
    "an empty file": ("", "1:1", "null"),
    "no YAML": ("logs: [1", "1:9", "not valid YAML"),
    "a key twice": ("logs: a\nlogs: b", "2:1", "duplicate key"),
    "a tag": ("logs: !!python/object:os.system x", "1:7", "TaggedScalar"),
    "an alias of itself": ("&a [*a]", "1:1", "nests deeper"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_error_names_line_and_column_and_what_was_found(tmp_path: Path, name: str) -> None:
    text, place, found = WRONG[name]

    with pytest.raises(ConfigError) as caught:
        config_from(tmp_path, text)

    assert caught.value.where == f"{tmp_path / 'parity.yaml'}:{place}"
    assert found in str(caught.value)
    assert caught.value.fix


def test_aliases_that_multiply_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]

    with pytest.raises(ConfigError, match="over 100000 values"):
        config_from(tmp_path, "\n".join(lines))


def test_the_keys_that_are_allowed_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from(tmp_path, "stacks: {a: {x: 1}}")

    assert caught.value.fix == "allowed here: open, artifact, options"


def test_a_file_that_is_not_there_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_config()

    assert caught.value.where == "parity.yaml"
    assert "--config" in caught.value.fix


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"logs: " + b"x" * 2_000_000])
def test_a_file_that_is_no_configuration_is_one_clear_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "parity.yaml"
    path.write_bytes(data)

    with pytest.raises(ConfigError):
        load_config(path)


def test_a_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be read"):
        load_config(tmp_path)


def test_the_committed_schema_is_current() -> None:
    """`python -m parity.config > docs/config.schema.json` writes it."""
    committed = json.loads(Path("docs/config.schema.json").read_text(encoding="utf-8"))

    assert committed == json_schema()


def test_the_committed_configuration_follows_the_committed_schema() -> None:
    schema = json.loads(Path("docs/config.schema.json").read_text(encoding="utf-8"))

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(read_config_file(Path("parity.yaml")).plain, schema)


@pytest.mark.parametrize(
    ("challenger", "outputs"),
    [("cpp", "bounded"), ("port", "bounded"), ("modern", "statistical")],
)
def test_the_committed_configuration_has_a_plan_for_each_demo(
    challenger: str, outputs: str
) -> None:
    config = load_config(Path("parity.yaml"))

    assert config.plan("legacy", challenger).outputs == outputs
    assert config.plan("legacy", challenger).same_training is (outputs == "bounded")
    assert config.spec(challenger).artifact is not None
