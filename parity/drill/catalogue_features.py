"""Real mistakes in features and their codes, and the diagnoses of them that are right."""

from __future__ import annotations

from collections.abc import Mapping

_HASH = ("hash_variant", "relabelled", "codes_partly_relabelled")

FEATURE_MISTAKES: Mapping[str, tuple[str, ...]] = {
    "log_for_log1p": ("log_for_log1p",),
    "log2_for_log": ("scale",),
    "log_left_out": ("log_left_out",),
    "log_twice": ("log_added",),
    "stored_float16": ("precision_float16",),
    "integer_column": ("integer_truncation",),
    "fillna_zero": ("constant_default", "missing_zero_swap"),
    "zero_is_missing": ("value_for_missing",),
    "half_day_clock": ("half_day_clock", "modulus"),
    "hour_rounded": ("utc_offset",),
    "week_from_sunday": ("day_shift", "utc_offset"),
    "iso_weekday": ("offset", "day_shift", "id_offset"),
    "days_for_hours": ("scale_in_log",),
    "never_is_now": ("constant_default",),
    "rate_without_prior": ("rate_prior",),
    "rate_of_failures": (),
    "integer_division": ("integer_division", "integer_truncation", "constant"),
    "per_cent_for_fraction": ("scale",),
    "history_reversed": (),
    "utc_offset": ("utc_offset", "hour_shift", "day_shift"),
    "daylight_saving": ("utc_offset", "hour_shift", "day_shift"),
    "rate_prior": ("rate_prior",),
    "rate_weight": ("rate_prior",),
    "rate_inverted": (),
    # On a column that lies on its edges wholly both are true, and the words say so.
    "bucket_edge_side": ("bucket_edge_side", "off_by_one"),
    "bucket_from_zero": ("off_by_one", "id_offset"),
    "missing_in_last_bucket": ("default", "reserved_id", "constant_default", "codes_merged"),
    "bucket_edge_lost": ("clipped", "codes_merged"),
    "hash_seed": _HASH,
    "hash_encoding": _HASH,
    "hash_of_c_string": _HASH,
    "hash_of_quoted": _HASH,
    "hash_of_stripped": (*_HASH, "codes_merged"),
    "hash_signed": (*_HASH, "hash_sign"),
    "hash_case": _HASH,
    "hash_size": (*_HASH, "modulus"),
    "cross_order": _HASH,
    "cross_lost": (*_HASH, "codes_merged"),
    "id_narrowed": ("integer_wrap", "modulus"),
    "id_from_one": ("off_by_one", "id_offset"),
    "unknown_id_forgotten": ("off_by_one", "id_offset"),
    "vocabulary_reversed": ("relabelled", "codes_partly_relabelled", "hash_variant"),
    "vocabulary_as_text": ("relabelled", "codes_partly_relabelled", "hash_variant"),
    "codes_of_serving_frame": ("relabelled", "codes_partly_relabelled", "hash_variant"),
    "unknown_is_first": ("default", "reserved_id", "codes_merged", "off_by_one"),
}
