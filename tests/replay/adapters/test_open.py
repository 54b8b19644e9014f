"""Opening a user's model from plain options, and what is said when that can not be done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from replay.adapters.onnx_graph import open_stack as open_onnx
from replay.adapters.torch_module import open_stack as open_torch
from replay.errors import ArtifactError, ConfigError, LogError, StackError, ToolkitError
from replay.logs.synthetic import SyntheticLog, import_synthetic
from replay.registry import StackSpec, open_stack
from replay.request import RequestBatch
from replay.threads import recorded_threads
from tests.builders import a_candidate, a_request, batch_of, random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import MODELS, OPTIONS, exported, from_export

HERE = "tests.replay.adapters.test_open"
TORCH = OPTIONS | {"module": f"{MODELS}:mlp", "logit": "return"}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(models.mlp(), tmp_path_factory.mktemp("exported") / "mlp.onnx")


def test_a_stack_opens_from_a_spec_of_plain_values(tmp_path: Path) -> None:
    torch.save(models.mlp().state_dict(), tmp_path / "weights.pt")
    spec = StackSpec(
        name="ours",
        opener="replay.adapters.torch_module:open_stack",
        artifact=tmp_path / "weights.pt",
        options=TORCH,
    )

    stack = open_stack(spec)
    trace = stack.score(random_batch(4, 5), capture=["logit", "pctr", "ecpm_micros", "rank"])

    assert stack.identity().threads == recorded_threads() | {"torch": "1"}
    np.testing.assert_allclose(trace["pctr"], 1 / (1 + np.exp(-trace["logit"])), rtol=1e-6)


def test_its_identity_changes_with_weights_options_and_example(tmp_path: Path) -> None:
    first = open_torch(**TORCH).identity()

    assert open_torch(**TORCH).identity() == first
    other = open_torch(**TORCH | {"module": f"{HERE}:other_weights"}).identity()
    assert other.digest != first.digest
    for change in ({"money": None}, {"example": f"{HERE}:another_example"}):
        assert open_torch(**TORCH | change).identity().code != first.code


def test_an_example_is_read_from_a_log_beside_the_artifact(tmp_path: Path) -> None:
    list(import_synthetic(tmp_path / "logs", SyntheticLog(days=1, requests=12, candidates=5)))
    torch.manual_seed(0)
    torch.save(OneNumber().state_dict(), tmp_path / "weights.pt")
    options = {"module": f"{HERE}:one_number", "inputs": f"{HERE}:prices", "logit": "return"}

    for example in ("logs", "logs/date=2026-01-05", str(tmp_path / "logs")):
        stack = open_torch(tmp_path / "weights.pt", example=example, **options)
        assert list(stack.checkpoints) == ["features.price", "lin", "logit", "pctr", "rank"]


def test_a_request_without_candidates_rows_or_many_is_scored_alike() -> None:
    """More candidates than one run takes, and none at all."""
    stack = open_torch(**TORCH)
    many = batch_of(a_request(num_candidates=1200), a_request("r-2", num_candidates=3))
    none = batch_of(a_request(candidates=[]))

    together = stack.score(many, capture=["join", "logit"])
    alone = stack.score(many.slice(1, 2), capture=["logit"])

    np.testing.assert_allclose(together["logit"][1200:], alone["logit"], atol=1e-6)
    assert stack.score(none, capture=["join", "rank"])["join"].shape == (0, 16)


class Padded(nn.Module):
    """All candidates of a request at once: [request, slot] prices to [request, slot] logits."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, price: Tensor) -> Tensor:
        return self.lin(price)


def padded() -> nn.Module:
    torch.manual_seed(0)
    return Padded()


def padded_prices(batch: RequestBatch) -> dict[str, Any]:
    offsets = batch.keys.candidate_offsets
    found = np.zeros((batch.num_requests, 4), dtype=np.float32)
    price = models._log1p(batch, "candidate.price")
    for request in range(batch.num_requests):
        own = price[offsets[request] : offsets[request + 1]][:4]
        found[request, : len(own)] = own
    return {"price": found}


def small_example() -> RequestBatch:
    return random_batch(12, 4, seed=5)


PADDED = {
    "module": f"{HERE}:padded",
    "inputs": f"{HERE}:padded_prices",
    "example": f"{HERE}:small_example",
    "logit": "return",
    "batch": "request",
}


def test_a_model_over_whole_requests_gives_its_candidates_without_padding() -> None:
    stack = open_torch(**PADDED)
    batch = small_example()

    trace = stack.score(batch, capture=["lin", "logit"])

    assert trace["lin"].shape == (12, 4)
    counts = np.diff(batch.keys.candidate_offsets)
    np.testing.assert_array_equal(
        trace["logit"], np.concatenate([r[:n] for r, n in zip(trace["lin"], counts, strict=True)])
    )


def test_a_request_with_more_candidates_than_the_model_has_slots_is_refused() -> None:
    stack = open_torch(**PADDED)

    with pytest.raises(StackError, match="5 candidates; the model scores 4"):
        stack.score(batch_of(a_request(num_candidates=5)), capture=["logit"])


def test_a_probability_can_be_named_in_place_of_a_logit() -> None:
    options = TORCH | {"module": f"{HERE}:probability", "logit": None, "pctr": "return"}
    stack = open_torch(**options)

    assert list(stack.checkpoints)[-3:] == ["pctr", "ecpm_micros", "rank"]
    assert stack.checkpoints["pctr"].after == ("squash",)


def test_a_layer_can_be_named_as_the_logit_and_ranks_by_what_it_is_given() -> None:
    stack = open_torch(**TORCH | {"logit": "head"})
    batch = random_batch(6, 5)
    free = stack.score(batch, capture=["head", "logit", "rank"])

    held = stack.score(batch, capture=["head", "logit", "rank"], given={"head": -free["head"]})

    assert stack.checkpoints["logit"].after == ("head",)
    np.testing.assert_array_equal(held["head"], free["head"])
    np.testing.assert_array_equal(held["logit"], -free["logit"])


def test_ties_in_rank_go_by_ad_id() -> None:
    stack = open_torch(**TORCH | {"money": None})
    batch = batch_of(a_request(candidates=[a_candidate(9), a_candidate(3), a_candidate(5)]))
    same = np.full(3, 0.25, dtype=np.float32)

    trace = stack.score(batch, capture=["rank"], given={"pctr": same})

    assert trace["rank"].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"module": "tests.nowhere:build"}, ConfigError, "can not be imported"),
        ({"module": f"{MODELS}:NUM_IDS"}, ConfigError, "is a int, not a function"),
        ({"module": f"{MODELS}:example"}, ConfigError, "returned a RequestBatch"),
        ({"module": f"{HERE}:breaks"}, ArtifactError, "could not be built: KeyError"),
        ({"module": f"{HERE}:padded"}, ConfigError, "the module refused the example's inputs"),
        ({"inputs": f"{HERE}:breaks"}, StackError, "the inputs function failed: KeyError"),
        ({"inputs": f"{HERE}:no_arrays"}, StackError, "not named arrays"),
        ({"inputs": f"{HERE}:texts"}, StackError, "no array of numbers"),
        ({"request_inputs": ["nothing"]}, ConfigError, "request_inputs names 'nothing'"),
        ({"request_inputs": []}, StackError, "'age' is float32"),
        ({"columns": {"dense": ["one"]}}, ConfigError, "1 columns are named for 'dense'"),
        ({"columns": {"ids": ["age", "b"]}}, ConfigError, "several inputs or columns"),
        ({"example": "no/such/log"}, LogError, "there is no folder"),
        ({"example": "no/such/date=today"}, LogError, "'today' is no date"),
        ({"example": f"{HERE}:one_request"}, ConfigError, "fewer than two"),
        ({"logit": None}, ConfigError, "neither the logit nor pctr"),
        ({"logit": "heads"}, ConfigError, "no tensor 'heads'"),
        ({"logit": "join"}, ConfigError, "'join' is float32 of shape [16]"),
    ],
)
def test_a_torch_option_that_can_not_be_used_is_refused(
    change: dict[str, Any], kind: type[ToolkitError], says: str
) -> None:
    with pytest.raises(kind) as caught:
        open_torch(**TORCH | change)

    assert says in caught.value.what


def test_weights_that_are_not_there_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        open_torch(tmp_path / "none.pt", **TORCH)
    (tmp_path / "bad.pt").write_bytes(b"not weights")
    with pytest.raises(ArtifactError, match="could not be built"):
        open_torch(tmp_path / "bad.pt", **TORCH)


def test_a_pickle_in_place_of_weights_runs_nothing(tmp_path: Path) -> None:
    torch.save({"x": Path("anything")}, tmp_path / "pickle.pt")

    with pytest.raises(ArtifactError, match="could not be built: UnpicklingError"):
        open_torch(tmp_path / "pickle.pt", **TORCH)


def test_a_damaged_graph_is_refused(export: Path, tmp_path: Path) -> None:
    whole = export.read_bytes()
    for name, content in {
        "empty": b"",
        "noise": bytes(range(256)) * 8,
        "half": whole[: len(whole) // 2],
    }.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            from_export(path)
    with pytest.raises(ArtifactError, match="no such file"):
        from_export(tmp_path / "none.onnx")


def test_weights_kept_in_another_file_are_refused(export: Path, tmp_path: Path) -> None:
    model = onnx.load(export)
    onnx.save(
        model,
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )

    with pytest.raises(ArtifactError, match="keeps its values in another file"):
        from_export(tmp_path / "model.onnx")


def test_an_operator_that_the_runtime_does_not_know_is_refused(
    export: Path, tmp_path: Path
) -> None:
    model = onnx.load(export)
    model.graph.node[-1].domain = "our.own"
    model.opset_import.add(domain="our.own", version=1)
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(ArtifactError, match="ONNX Runtime can not run the graph"):
        from_export(tmp_path / "model.onnx")


def test_a_graph_for_a_fixed_number_of_rows_is_refused(export: Path, tmp_path: Path) -> None:
    model = onnx.load(export)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7
    onnx.save(model, tmp_path / "model.onnx")

    with pytest.raises(ArtifactError, match="exactly 7 rows"):
        from_export(tmp_path / "model.onnx")


def test_inputs_that_the_graph_lacks_are_refused(export: Path) -> None:
    with pytest.raises(ConfigError, match="the graph reads dense, ids, age"):
        open_onnx(
            export, inputs=f"{HERE}:padded_prices", example=f"{HERE}:small_example",
            logit="logit", batch="request",
        )  # fmt: skip


def test_a_given_graph_output_is_found_by_its_own_name(export: Path) -> None:
    stack = from_export(export)

    assert stack.checkpoints["logit"].after == ("head",)
    assert stack.observation.is_exact
    assert "return.logit" not in stack.checkpoints


class OneNumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(1, 1)

    def forward(self, price: Tensor) -> Tensor:
        return self.lin(price[:, None])[:, 0]


def one_number(artifact: Path) -> nn.Module:
    module = OneNumber()
    module.load_state_dict(torch.load(artifact, weights_only=True))
    return module


def prices(batch: RequestBatch) -> dict[str, Any]:
    return {"price": models._log1p(batch, "candidate.price")}


class Probability(models.Mlp):
    def __init__(self) -> None:
        super().__init__()
        self.squash = nn.Sigmoid()

    def forward(self, dense: Tensor, ids: Tensor, age: Tensor) -> Tensor:
        return self.squash(super().forward(dense, ids, age))


def probability() -> nn.Module:
    torch.manual_seed(1)
    return Probability()


def other_weights() -> nn.Module:
    torch.manual_seed(2)
    return models.Mlp()


def another_example() -> RequestBatch:
    return random_batch(20, 6, seed=4)


def one_request() -> RequestBatch:
    return batch_of(a_request(num_candidates=3))


def breaks(*_: Any) -> Any:
    raise KeyError("missing")


def no_arrays(_: RequestBatch) -> list[int]:
    return [1]


def texts(batch: RequestBatch) -> dict[str, Any]:
    return {"dense": np.array(["a"] * batch.num_candidates)}
