"""Discrete features: buckets of numbers, hashes of texts, ids; each with the code of its value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modern.features.columns import (
    Columns,
    Texts,
    axis_of,
    bytes_of,
    plain,
    wrong_type,
)
from modern.features.murmur import murmur3
from modern.features.spec import DiscreteSpec, Normalise, Source

JOINED_BY = "\x1f"
UINT32_END = 1 << 32
INT32_END = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket(DiscreteSpec):
    """1 + how many edges a number has reached; 0 is missing."""

    kind: ClassVar[str] = "bucket"
    dtype: ClassVar[str] = "int32"
    unit: ClassVar[str] = "bucket"
    # A number that equals an edge has reached it.
    side: ClassVar[Literal["left", "right"]] = "right"

    source: Source
    edges: tuple[float, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def cardinality(self) -> int:
        return len(self.edges) + 2

    def flaw(self) -> str | None:
        """What is wrong with its parameters, if anything."""
        ascending = all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        return None if ascending else "the edges do not ascend"

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        values = columns.real(self.source, self.axis)
        reached = np.searchsorted(np.asarray(self.edges, np.float64), values, side=self.side)
        return np.where(np.isnan(values), 0, reached + 1).astype(np.int32)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return values.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hash(DiscreteSpec):
    """1 + a hash of one to three texts modulo (buckets - 1); 0 where one of them is missing."""

    kind: ClassVar[str] = "hash"
    dtype: ClassVar[str] = "int32"
    unit: ClassVar[str] = "bucket"

    sources: tuple[Source, ...]
    seed: int
    buckets: int
    normalise: Normalise

    @property
    def reads(self) -> tuple[str, ...]:
        return self.sources

    @property
    def cardinality(self) -> int:
        return self.buckets

    def flaw(self) -> str | None:
        """What is wrong with its parameters, if anything."""
        if not 1 <= len(self.sources) <= 3:
            return f"{len(self.sources)} sources are hashed, not one to three"
        if not 0 <= self.seed < UINT32_END:
            return f"seed {self.seed} is no unsigned 32-bit number"
        if not 2 <= self.buckets < INT32_END:
            return f"{self.buckets} buckets are fewer than 2 or more than int32 holds"
        return None

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        texts = reduce(_joined, (columns.texts(source, self.axis) for source in self.sources))
        data, offsets = self.encoded(texts.distinct)
        if self.normalise == "lower":
            data = np.where((data >= ord("A")) & (data <= ord("Z")), data + np.uint8(32), data)
        buckets = 1 + murmur3(data, offsets, self.seed).astype(np.int64) % (self.buckets - 1)
        # The place -1 of a missing text finds the 0 put behind the last one.
        return np.append(buckets, 0).astype(np.int32)[texts.codes]

    @staticmethod
    def encoded(texts: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes that are hashed, and each text's offsets in them."""
        return bytes_of(texts)

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return values.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Id(DiscreteSpec):
    """An int64 id itself, -1 where missing; its code is its place in the vocabulary plus 1."""

    kind: ClassVar[str] = "id"
    dtype: ClassVar[str] = "int64"
    unit: ClassVar[str] = "id"

    source: Source
    vocabulary: tuple[int, ...]

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def cardinality(self) -> int:
        return len(self.vocabulary) + 1

    def flaw(self) -> str | None:
        """What is wrong with its parameters, if anything."""
        ascending = all(a < b for a, b in zip(self.vocabulary, self.vocabulary[1:], strict=False))
        if not ascending:
            return "the vocabulary does not ascend"
        return (
            "an id of the vocabulary is negative" if min(self.vocabulary, default=0) < 0 else None
        )

    def compute(self, columns: Columns) -> NDArray[np.int64]:
        column = columns.batch.column(self.source)
        if not pa.types.is_int64(column.type):
            raise wrong_type(self.source, column.type, "int64 ids")
        ids = plain(column, -1)
        return ids if axis_of(self.source) == self.axis else ids[columns.request_of(self.axis)]

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        vocabulary = np.asarray(self.vocabulary, np.int64)
        places = np.searchsorted(vocabulary, values)
        known = places < len(vocabulary)
        known[known] = vocabulary[places[known]] == values[known]
        return np.where(known, places + 1, 0).astype(np.int64)


def _joined(left: Texts, right: Texts) -> Texts:
    """The pairs of two texts a row, each distinct pair joined once; missing if either is."""
    pairs = left.codes * len(right.distinct) + right.codes
    absent = (left.codes < 0) | (right.codes < 0)
    encoded = pa.array(pairs, mask=absent).dictionary_encode()
    distinct = encoded.dictionary.to_numpy(zero_copy_only=False)
    first, second = np.divmod(distinct, max(len(right.distinct), 1))
    return Texts(
        codes=plain(encoded.indices.cast(pa.int64()), -1),
        distinct=pc.binary_join_element_wise(
            left.distinct.take(pa.array(first)), right.distinct.take(pa.array(second)), JOINED_BY
        ),
    )
