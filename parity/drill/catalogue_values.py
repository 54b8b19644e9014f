"""Mistakes that are planted as values, and the diagnoses of them that are right."""

from __future__ import annotations

from dataclasses import dataclass

from replay.checkpoint import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueMistake:
    """A mistake as a value plant.

    Attributes:
        name: What it is called.
        stages: Where it happens.
        plant: Kind of value plant, with its argument.
        told: Classes of diagnosis that are right; empty where there is no class for it.
    """

    name: str
    stages: tuple[Stage, ...]
    plant: str
    told: tuple[str, ...] = ()


_FEATURE: tuple[Stage, ...] = ("feature",)
_CODES: tuple[Stage, ...] = ("feature", "encoding")
_LAYER: tuple[Stage, ...] = ("layer",)
_OUTPUT: tuple[Stage, ...] = ("output",)
_REAL: tuple[Stage, ...] = ("layer", "output")


def _of(stages: tuple[Stage, ...], name: str, plant: str, *told: str) -> ValueMistake:
    return ValueMistake(name=name, stages=stages, plant=plant, told=told)


VALUE_MISTAKES: tuple[ValueMistake, ...] = (
    _of(_FEATURE, "seconds_for_days", "scale=86400", "scale"),
    _of(_FEATURE, "milliseconds_for_seconds", "scale=1000", "scale"),
    _of(_FEATURE, "hundredfold", "scale=100", "scale"),
    _of(_FEATURE, "other_currency", "scale=1.1", "scale"),
    _of(_FEATURE, "zero_point", "offset=273.15", "offset"),
    _of(_FEATURE, "sign_exchanged", "sign", "sign"),
    _of(_FEATURE, "sign_lost", "absolute", "absolute", "sign"),
    # Of a column that lies above 1 wholly, constant is as true.
    _of(_FEATURE, "clipped_at_one", "clipped=1", "clipped", "constant"),
    _of(_FEATURE, "cast_to_integer", "integer_truncation", "integer_truncation", "constant"),
    _of(_FEATURE, "three_digits", "rounding=3", "rounding"),
    _of(_FEATURE, "two_decimals", "decimals=2", "rounding", "quantised"),
    _of(_FEATURE, "half_precision", "rounding=float16", "precision_float16"),
    _of(_FEATURE, "brain_float", "rounding=bfloat16", "precision_bfloat16"),
    _of(_FEATURE, "default_for_missing", "constant_default", "constant_default"),
    _of(_FEATURE, "zero_for_missing", "constant_default=0", "constant_default", "missing_zero_swap"),
    _of(_FEATURE, "missing_and_zero", "missing_zero_swap", "missing_zero_swap", "constant_default", "value_for_missing"),
    _of(_FEATURE, "zero_as_missing", "value_for_missing", "value_for_missing"),
    _of(_FEATURE, "never_filled", "never_filled", "constant"),
    _of(_FEATURE, "log_once_more", "log_added", "log_added"),
    _of(_FEATURE, "log_forgotten", "log_left_out", "log_left_out"),
    _of(_FEATURE, "square_root_forgotten", "square", "square"),
    _of(_FEATURE, "nine_hours", "hour_shift=9", "hour_shift", "utc_offset"),
    _of(_FEATURE, "one_hour", "hour_shift=1", "hour_shift", "utc_offset"),
    _of(_FEATURE, "twelve_hours", "half_day_clock", "half_day_clock", "modulus"),
    _of(_FEATURE, "first_day", "day_shift=1", "day_shift", "utc_offset"),
    _of(_FEATURE, "columns_exchanged", "swap_columns", "swapped_columns"),
    _of(_FEATURE, "candidates_permuted", "permute_candidates", "permuted_rows", "lag"),
    _of(_FEATURE, "row_late", "lag", "lag", "permuted_rows"),
    _of(_FEATURE, "rows_reversed", "reversed", "reversed", "permuted_rows"),
    _of(_FEATURE, "first_row_for_all", "repeated", "repeated", "constant"),
    _of(_FEATURE, "rows_sorted", "sorted", "sorted", "permuted_rows"),
    _of(_FEATURE, "rows_averaged", "averaged", "averaged"),
    _of(_CODES, "code_off_by_one", "off_by_one", "off_by_one", "id_offset", "bucket_edge_side"),
    _of(_CODES, "vocabulary_order", "relabelled", "relabelled", "hash_variant", "codes_partly_relabelled", "reserved_id"),
    _of(_CODES, "codes_merged", "codes_merged", "codes_merged", "codes_partly_relabelled"),
    _of(_CODES, "reserved_id", "reserved_id", "reserved_id", "codes_merged", "default"),
    _of(_CODES, "table_size", "modulus", "modulus", "codes_merged", "integer_wrap", "hash_variant"),
    _of(("tree",), "leaves_of_next_row", "permute_candidates", "permuted_rows", "lag"),
    _of(("tree",), "leaf_off_by_one", "off_by_one", "off_by_one", "id_offset", "relabelled"),
    _of(_REAL, "hundredth_more", "scale", "scale"),
    _of(_REAL, "constant_more", "offset=0.01", "offset"),
    _of(_REAL, "half_precision", "rounding=float16", "precision_float16"),
    _of(_REAL, "brain_float", "rounding=bfloat16", "precision_bfloat16"),
    _of(_REAL, "rows_permuted", "permute_candidates", "permuted_rows", "lag"),
    _of(_LAYER, "one_row_scaled", "row_scale", "row_scale", "scale"),
    _of(_LAYER, "heads_exchanged", "channels_rotated", "channels_permuted"),
    _of(_LAYER, "channels_reversed", "channels_reversed", "channels_reversed", "channels_permuted"),
    _of(_LAYER, "transposed", "transposed", "transposed"),
    _of(_LAYER, "dropout_left_on", "dropout", "dropout"),
    _of(_LAYER, "sign_exchanged", "sign", "sign"),
    _of(_OUTPUT, "double_sigmoid", "double_sigmoid", "double_sigmoid"),
    _of(_OUTPUT, "sigmoid_forgotten", "sigmoid_left_out", "sigmoid_left_out"),
    _of(_OUTPUT, "other_calibration", "calibration", "calibration"),
    _of(_OUTPUT, "four_decimals", "decimals=4", "rounding", "quantised"),
    _of(_OUTPUT, "rank_reversed", "rank_reversed", "rank_reversed", "reversed"),
    _of(_OUTPUT, "rank_from_one", "rank_from_one", "id_offset", "off_by_one", "offset"),
)  # fmt: skip
