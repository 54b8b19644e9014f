"""What was done to weights and settings is said in words, and of the module where it was done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.explain.weight_relations import relation
from parity.explain.weights import Fact, weight_facts, with_weights
from replay.adapters.torch_program import TorchProgram
from tests.parity.a_report import a_cause
from tests.replay.adapters import models
from tests.replay.adapters.opened import changed, exported, from_export, from_module

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((8, 8)).astype(np.float32)
WIDE = RNG.standard_normal((6, 4)).astype(np.float32)
VECTOR = RNG.standard_normal(8).astype(np.float32)


def rows(values: np.ndarray, places: Any, factor: float) -> np.ndarray:
    moved = values.copy()
    moved[places] *= np.float32(factor)
    return moved


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (MATRIX, MATRIX.copy(), None),
        (MATRIX, MATRIX.astype(np.float64), None),
        (MATRIX, MATRIX.T.copy(), "is transposed"),
        (WIDE, WIDE.T.copy(), "has the shape [4, 6] instead of [6, 4]"),
        (MATRIX, MATRIX[::-1].copy(), "has its rows in reverse"),
        (MATRIX, MATRIX[[4, 5, 6, 7, 0, 1, 2, 3]], "has blocks of 4 rows (heads) in the order 1, 0"),
        (MATRIX, MATRIX[:, [2, 3, 0, 1, 4, 5, 6, 7]], "has blocks of 2 columns (heads) in the order 1, 0, 2, 3"),
        (MATRIX, MATRIX[[0, 2, 1, 3, 4, 5, 6, 7]], "has its rows permuted, 2 of 8 (1, 2)"),
        (MATRIX, 1.01 * MATRIX, "has 1.01 x the reference's values in every place"),
        (MATRIX, rows(MATRIX, 3, 1.01), "has 1.01 x the reference's values in row 3"),
        (MATRIX, rows(MATRIX.T, [1, 5], 2.0).T, "has 2 x the reference's values in columns 1, 5"),
        (MATRIX, rows(MATRIX, 2, 0.0), "has 0 in row 2"),
        (MATRIX, -MATRIX, "has the other sign in every place"),
        (VECTOR, VECTOR + np.float32(0.25), "has values 0.25 higher in every place"),
        (VECTOR, rows(VECTOR, [0, 7], 3.0), "has 3 x the reference's values in places 0, 7"),
        (MATRIX, MATRIX.astype(np.float16).astype(np.float32), "is rounded to float16"),
        (MATRIX, MATRIX + 0.5 * MATRIX**2, "differs in 64 of 64 values, by"),
        (np.arange(4), np.arange(4) + 1, "has values 1 higher in every place"),
    ],
)  # fmt: skip
def test_a_relation_is_said_in_words(ours, theirs, says) -> None:
    found = relation(ours, theirs)

    if says is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(says)


def test_a_row_within_a_last_rounding_is_the_same_and_1e_5_is_not() -> None:
    nudged = MATRIX.copy()
    nudged[3] *= np.float32(1 + 2.0**-24)
    assert relation(MATRIX, nudged) is None
    assert relation(MATRIX, rows(MATRIX, 3, 1 + 1e-5)) == (
        "has 1.00001 x the reference's values in row 3"
    )


def eps(module: Any) -> None:
    module.layers[0].norm2.eps = 1e-3


def tanh(module: Any) -> None:
    module.layers[1].mlp[1] = nn.GELU(approximate="tanh")


def silu(module: Any) -> None:
    module.layers[1].mlp[1] = nn.SiLU()


def no_bias(module: Any) -> None:
    module.head.bias = None


def padding(module: Any) -> None:
    module.ids.padding_idx = 0


def heads(module: Any) -> None:
    module.layers[0].attention.num_heads = 4


def row(module: Any) -> None:
    module.layers[0].mlp[0].weight[3] *= 1 + 1e-5


CASES: list[tuple[Callable[[Any], None], str, str]] = [
    (eps, "layers.0.norm2", "eps is 0.001 instead of 1e-05"),
    (tanh, "layers.1.mlp.1", "approximate is tanh instead of none"),
    (silu, "layers.1.mlp.1", "activation is silu instead of gelu"),
    (no_bias, "head", "bias is absent"),
    (padding, "ids", "padding_idx is 0 instead of None"),
    (heads, "layers.0.attention", "num_heads is 4 instead of 2"),
    (row, "layers.0.mlp.0", "weight has 1.00001 x the reference's values in row 3"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].__name__)
def test_each_is_a_fact_of_its_module_and_there_is_no_other(
    case: tuple[Callable[[Any], None], str, str],
) -> None:
    change, module, says = case
    ours = models.transformer()
    theirs = changed(ours, change)

    found = weight_facts(Described(ours), Described(theirs))

    assert (module, says) in [(fact.module, fact.says) for fact in found]
    assert {fact.module for fact in found} == {module}


def test_a_copy_and_its_export_have_no_facts(tmp_path: Path) -> None:
    module = models.transformer()
    ours = from_module(module)
    export = from_export(exported(module, tmp_path / "model.onnx"))

    assert weight_facts(ours, from_module(module)) == ()
    assert weight_facts(ours, export) == ()
    assert weight_facts(export, ours) == ()


def test_an_export_shows_what_was_done_to_turned_weights_of_no_name(tmp_path: Path) -> None:
    module = models.transformer()
    both = changed(changed(module, row), eps)
    export = from_export(exported(both, tmp_path / "model.onnx"))

    found = weight_facts(from_module(module), export)

    assert found == (
        Fact(
            module="layers.0.norm2",
            says="eps is 0.0010000000474974513 instead of 1e-05",
            kind="epsilon",
        ),
        Fact(
            module="layers.0.mlp.0",
            says="weight has 1.00001 x the reference's values in row 3",
            kind="weights",
        ),
    )


def turned_round(module: Any) -> None:
    module.layers[0].mlp[0].weight.copy_(module.layers[0].mlp[0].weight.flip(1))


def test_weights_of_another_name_and_other_values_are_found_where_no_others_are_left(
    tmp_path: Path,
) -> None:
    module = models.transformer()
    export = from_export(exported(changed(module, turned_round), tmp_path / "model.onnx"))

    found = weight_facts(from_module(module), export)

    assert found == (
        Fact(module="layers.0.mlp.0", says="weight has its columns in reverse", kind="weights"),
    )


def test_facts_go_to_the_nearest_checkpoint_and_the_rest_is_kept() -> None:
    facts = [
        Fact(module="layers.0.attention.out_proj", says="weight is transposed", kind="weights"),
        Fact(module="layers.0.norm1", says="eps is 1 instead of 2", kind="epsilon"),
        Fact(module="layers.0.mlp.1", says="class is SiLU instead of GELU", kind="activation"),
    ]
    names = ["layers.0", "layers.0.attention", "layers.0.norm1", "layers.0.mlp"]
    causes = [
        a_cause("layers.0.attention", diagnosis=None),
        a_cause("layers.0.mlp", diagnosis="values tell"),
    ]

    (attention, mlp), left = with_weights(causes, facts, names)

    assert attention.weights == ("layers.0.attention.out_proj: weight is transposed",)
    assert attention.diagnosis == "layers.0.attention.out_proj: weight is transposed"
    assert mlp.weights == ("layers.0.mlp.1: class is SiLU instead of GELU",)
    assert mlp.diagnosis == "values tell"
    assert [fact.module for fact in left] == ["layers.0.norm1"]


class Described:
    """A module's weights and settings."""

    def __init__(self, module: nn.Module) -> None:
        self.program = TorchProgram(module, models.arrays(models.example()))

    def weights(self) -> Any:
        return self.program.weights()

    def configuration(self) -> Any:
        return self.program.configuration()


def test_bfloat16_weights_are_said_to_be_rounded() -> None:
    narrow = torch.from_numpy(MATRIX).bfloat16().float().numpy()

    assert relation(MATRIX, narrow) == "is rounded to bfloat16"


class Set:
    """Settings alone."""

    def __init__(self, **settings: str) -> None:
        self.settings = {name.replace("_at_", "."): value for name, value in settings.items()}

    def weights(self) -> Any:
        return {}

    def configuration(self) -> Any:
        return self.settings


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ("hard sigmoid", "hard_sigmoid", None),
        ("silu", "swish", None),
        ("gelu", "relu", "activation is relu instead of gelu"),
        ("silu", "hard_swish", "activation is hard swish instead of silu"),
    ],
)
def test_another_word_for_the_same_activation_is_no_fact(
    ours: str, theirs: str, says: str | None
) -> None:
    found = weight_facts(Set(act_at_activation=ours), Set(act_at_activation=theirs))

    assert [fact.says for fact in found] == ([] if says is None else [says])
