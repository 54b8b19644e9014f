"""Which tensors of a module are checkpoints, by which names, computed from what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from replay.adapters.program import Tensor as Declared
from replay.adapters.torch_program import TorchProgram
from replay.errors import StackError

ROWS = {"x": np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)}


def program(module: nn.Module, rows: Any = None) -> TorchProgram:
    torch.manual_seed(0)
    return TorchProgram(module, rows or ROWS)


def by_name(traced: TorchProgram) -> dict[str, Declared]:
    return {tensor.name: tensor for tensor in traced.tensors}


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.act = nn.ReLU()
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.act(self.first(x))
        return x + self.act(inner.flip(1)) + torch.zeros_like(inner)


def test_edges_are_what_the_values_are_computed_from() -> None:
    found = by_name(program(Residual()))

    assert list(found) == ["first", "act", "act:1", "return"]
    assert {name: (one.after, one.inputs) for name, one in found.items()} == {
        "first": ((), ("x",)),
        "act": (("first",), ()),
        "act:1": (("act",), ()),
        "return": (("act:1",), ("x",)),  # zeros_like takes no value from `inner`
    }


def test_a_module_that_is_never_called_is_listed() -> None:
    assert program(Residual()).skipped == {"unused": "it is never called"}


class WritesInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3)
        self.act = nn.ReLU(inplace=True)
        self.same = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        buffer = torch.zeros(len(x), 2, 3)
        buffer[:, 0] = self.same(self.act(self.left(x)))
        buffer[:, 1].copy_(self.right(x))
        return buffer.sum(dim=(1, 2))


def test_writes_in_place_are_followed() -> None:
    traced = program(WritesInPlace())

    assert by_name(traced)["act"].after == ("left",)
    assert by_name(traced)["return"].after == ("right", "act")
    assert traced.skipped == {"same": "it passes on what it is given"}


def test_what_is_recorded_is_as_it_was_before_a_later_write_in_place() -> None:
    recorded = program(WritesInPlace()).run(ROWS, record=["left", "act"])

    assert (recorded["left"] < 0).any()
    np.testing.assert_array_equal(recorded["act"], np.maximum(recorded["left"], 0))


class Several(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"pair": (x * 2, x * 3), "text": "no tensor", "count": torch.tensor(len(x))}


class UsesSeveral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.several = Several()

    def forward(self, x: Tensor) -> Tensor:
        return self.several(x)["pair"][1]


def test_a_module_that_gives_several_tensors_is_named_by_their_places() -> None:
    traced = program(UsesSeveral())

    assert list(by_name(traced)) == ["several.pair.0", "several.pair.1", "return"]
    assert by_name(traced)["return"].after == ("several.pair.1",)
    assert traced.skipped == {"several.count": "none of its axes is the rows: shape [] at 7 rows"}


def test_a_tensor_inside_what_a_module_gives_can_be_given() -> None:
    traced = program(UsesSeveral())
    instead = np.full((9, 4), 7.0, dtype=np.float32)

    found = traced.run(ROWS, record=["several.pair.1", "return"], given={"several.pair.1": instead})

    np.testing.assert_array_equal(found["several.pair.1"], ROWS["x"] * 3)
    np.testing.assert_array_equal(found["return"], instead)


class SequenceFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Embedding(4, 5)
        self.mix = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.T[:, :, None] + self.position(torch.arange(4))[:, None]
        return self.mix(steps).sum(dim=(0, 2))


def test_rows_are_found_on_whichever_axis_they_stand() -> None:
    traced = program(SequenceFirst())

    assert by_name(traced)["mix"].shape == (4, 5)
    assert "none of its axes is the rows" in traced.skipped["position"]
    free = traced.run(ROWS, record=["mix", "return"])
    held = traced.run(ROWS, record=["return"], given={"mix": free["mix"]})
    assert free["mix"].shape == (9, 4, 5)
    np.testing.assert_array_equal(free["return"], held["return"])


class LowPrecision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 3, dtype=torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x.bfloat16()).float().sum(dim=1)


def test_bfloat16_is_recorded_as_float32_and_keeps_its_own_unit() -> None:
    traced = program(LowPrecision())
    free = traced.run(ROWS, record=["lin", "return"])

    assert (by_name(traced)["lin"].dtype, by_name(traced)["lin"].unit) == ("float32", 2.0**-8)
    held = traced.run(ROWS, record=["return"], given={"lin": free["lin"]})
    np.testing.assert_array_equal(free["return"], held["return"])


class Sometimes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 1)
        self.calls_lin = True

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x)[:, 0] if self.calls_lin else x[:, 0]


def test_a_module_that_is_not_reached_is_an_error_that_names_it() -> None:
    module = Sometimes()
    traced = program(module)
    module.calls_lin = False

    with pytest.raises(StackError, match="'lin' gave nothing for this batch"):
        traced.run(ROWS, record=["lin"])


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logit(x)[:, 0]


def test_a_module_called_as_an_output_is_keeps_apart_from_it() -> None:
    assert list(by_name(program(Outer()))) == ["model.logit", "return"]


def test_the_fused_encoder_layer_is_opened_and_what_that_changes_is_measured() -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).sum(dim=(1, 2))

    rows = {"x": np.random.default_rng(0).normal(size=(9, 6, 32)).astype(np.float32)}
    traced = program(Encoder(), rows)

    assert {"layer.linear1", "layer.norm1", "layer.self_attn"} <= by_name(traced).keys()
    bare, watched = traced.run_bare(rows)["return"], traced.run(rows, record=["return"])["return"]
    assert 0 < np.abs(bare - watched).max() < 1e-5
