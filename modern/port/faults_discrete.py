"""Faults of the port's discrete features and their codes: edges, hashes, vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modern.features.columns import Columns, axis_of, bytes_of
from modern.features.discrete import UINT32_END, Bucket, Hash, Id
from modern.features.murmur import murmur3
from modern.features.spec import FeatureSpec
from modern.port.faults_kinds import FeatureFault, as_kind

Encoded = tuple[NDArray[np.uint8], NDArray[np.int64]]


class BucketReachedPastItsEdge(Bucket):
    """A number that equals an edge has not reached it."""

    side: ClassVar[Literal["left", "right"]] = "left"


class BucketFromZero(Bucket):
    """The bucket below the first edge shares its number with missing values."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        return np.maximum(Bucket.compute(self, columns) - 1, 0).astype(np.int32)


class MissingInLastBucket(Bucket):
    """NaN sorts behind every edge."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        found = Bucket.compute(self, columns)
        return np.where(found == 0, len(self.edges) + 1, found).astype(np.int32)


class BucketWithoutLastEdge(Bucket):
    """The last edge was lost on the way; the columns of its encoding were not."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        found = Bucket.compute(self, columns)
        return np.minimum(found, len(self.edges)).astype(np.int32)


class HashOfUtf16(Hash):
    """Text hashed in the encoding of another platform."""

    @staticmethod
    def encoded(texts: pa.StringArray) -> Encoded:
        return _joined([text.encode("utf-16-le") for text in texts.to_pylist()])


class HashOfCString(Hash):
    """Text hashed with the zero byte that ends it."""

    @staticmethod
    def encoded(texts: pa.StringArray) -> Encoded:
        return _joined([text.encode() + b"\0" for text in texts.to_pylist()])


class HashOfQuoted(Hash):
    """Text hashed as it stands in JSON, quotes included."""

    @staticmethod
    def encoded(texts: pa.StringArray) -> Encoded:
        return _joined([b'"' + text.encode() + b'"' for text in texts.to_pylist()])


class HashOfStripped(Hash):
    """The last character is taken for a line's end."""

    @staticmethod
    def encoded(texts: pa.StringArray) -> Encoded:
        return _joined([text.encode()[:-1] for text in texts.to_pylist()])


class HashOfSmallerTable(Hash):
    """The remainder modulo one less; the columns of its encoding stay."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        return replace(_plain(self), buckets=self.buckets - 1).compute(columns)


class HashJoinedInReverse(Hash):
    """The crossed fields are joined in another order."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        return replace(_plain(self), sources=self.sources[::-1]).compute(columns)


class HashOfOneField(Hash):
    """Of crossed fields only the first is hashed."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        found = replace(_plain(self), sources=self.sources[:1]).compute(columns)
        narrower = axis_of(self.sources[0]) != self.axis
        return found[columns.request_of()] if narrower else found


class SignedHash(Hash):
    """The hash read as a signed integer; the remainder's sign is dropped, as by Java's abs."""

    def compute(self, columns: Columns) -> NDArray[np.int32]:
        texts = columns.texts(self.sources[0], self.axis)
        data, offsets = bytes_of(texts.distinct)
        if self.normalise == "lower":
            data = np.where((data >= ord("A")) & (data <= ord("Z")), data + np.uint8(32), data)
        signed = murmur3(data, offsets, self.seed).view(np.int32).astype(np.int64)
        buckets = 1 + np.abs(np.fmod(signed, self.buckets - 1))
        return np.append(buckets, 0).astype(np.int32)[texts.codes]


class CodeWithoutUnknown(Id):
    """Places of a vocabulary that has forgotten to leave the first one free."""

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return np.maximum(Id.codes(self, values) - 1, 0)


class CodeOfLastFirst(Id):
    """The vocabulary stands in falling order."""

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        codes = Id.codes(self, values)
        return np.where(codes > 0, len(self.vocabulary) + 1 - codes, 0)


class CodeByText(Id):
    """The vocabulary was sorted as text: 10 stands before 9."""

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        as_text = np.argsort(np.argsort(np.array([str(one) for one in self.vocabulary])))
        codes = Id.codes(self, values)
        table = np.concatenate([[0], as_text + 1]).astype(np.int64)
        return table[codes]


class CodeOfServingFrame(Id):
    """Codes are made of the ids that a batch holds, as by a data frame's categories."""

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        _, codes = np.unique(values, return_inverse=True)
        return np.minimum(codes.reshape(-1) + 1, len(self.vocabulary)).astype(np.int64)


class UnknownIsFirst(Id):
    """An id that the vocabulary lacks is taken for its first one."""

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return np.maximum(Id.codes(self, values), min(1, len(self.vocabulary)))


class IdNarrowed(Id):
    """The id passes through an unsigned byte."""

    def compute(self, columns: Columns) -> NDArray[np.int64]:
        ids = Id.compute(self, columns)
        return np.where(ids < 0, ids, ids % 256)


class IdFromOne(Id):
    """Ids are taken to count from 1: one less."""

    def compute(self, columns: Columns) -> NDArray[np.int64]:
        ids = Id.compute(self, columns)
        return np.where(ids < 0, ids, ids - 1)


def _joined(texts: list[bytes]) -> Encoded:
    offsets = np.cumsum([0, *map(len, texts)])
    return np.frombuffer(b"".join(texts), np.uint8), offsets.astype(np.int64)


def _other_seed(feature: Hash) -> FeatureSpec:
    return replace(feature, seed=(feature.seed + 1) % UINT32_END)


def _other_case(feature: Hash) -> FeatureSpec:
    return replace(feature, normalise="none" if feature.normalise == "lower" else "lower")


def _plain(feature: Hash) -> Hash:
    """The feature under its kind's own code."""
    return Hash(**asdict(feature))


def _if_crossed(kind: type[Hash]) -> Callable[[Any], FeatureSpec | None]:
    return lambda feature: as_kind(kind)(feature) if len(feature.sources) > 1 else None


def _smaller(feature: Hash) -> FeatureSpec | None:
    return as_kind(HashOfSmallerTable)(feature) if feature.buckets > 3 else None


def _of_one_text(feature: Hash) -> FeatureSpec | None:
    return as_kind(SignedHash)(feature) if len(feature.sources) == 1 else None


def _without_last_edge(feature: Bucket) -> FeatureSpec | None:
    return as_kind(BucketWithoutLastEdge)(feature) if feature.edges else None


def _hash(kind: str, says: str, code: type[Hash]) -> FeatureFault:
    return FeatureFault(kind=kind, of=(Hash,), where="code", says=says, change=as_kind(code))


def _id(
    kind: str, says: str, code: type[Id], stage: Literal["features", "encoded"] = "encoded"
) -> FeatureFault:
    return FeatureFault(
        kind=kind, of=(Id,), where="code", says=says, change=as_kind(code), stage=stage
    )


def _bucket(kind: str, says: str, code: type[Bucket]) -> FeatureFault:
    return FeatureFault(kind=kind, of=(Bucket,), where="code", says=says, change=as_kind(code))


DISCRETE_FAULTS: tuple[FeatureFault, ...] = (
    _bucket(
        "bucket_edge_side",
        "a value equal to a bucket's edge falls below it",
        BucketReachedPastItsEdge,
    ),
    _bucket("bucket_from_zero", "buckets count from 0", BucketFromZero),
    _bucket("missing_in_last_bucket", "missing falls into the last bucket", MissingInLastBucket),
    FeatureFault(
        kind="bucket_edge_lost",
        of=(Bucket,),
        where="code",
        says="the last edge is not read",
        change=_without_last_edge,
    ),
    FeatureFault(
        kind="hash_seed",
        of=(Hash,),
        where="configuration",
        says="the hash is seeded with one more",
        change=_other_seed,
    ),
    _hash("hash_encoding", "text is hashed as UTF-16 instead of UTF-8", HashOfUtf16),
    _hash("hash_of_c_string", "text is hashed with its final zero byte", HashOfCString),
    _hash("hash_of_quoted", "text is hashed with its quotes", HashOfQuoted),
    _hash("hash_of_stripped", "text is hashed without its last character", HashOfStripped),
    FeatureFault(
        kind="hash_signed",
        of=(Hash,),
        where="code",
        says="the hash is read as a signed integer",
        change=_of_one_text,
    ),
    FeatureFault(
        kind="hash_case",
        of=(Hash,),
        where="configuration",
        says="text is lower-cased where it was not (or is not where it was)",
        change=_other_case,
    ),
    FeatureFault(
        kind="hash_size",
        of=(Hash,),
        where="code",
        says="the table has one bucket less",
        change=_smaller,
    ),
    FeatureFault(
        kind="cross_order",
        of=(Hash,),
        where="code",
        says="the crossed fields are joined in another order",
        change=_if_crossed(HashJoinedInReverse),
    ),
    FeatureFault(
        kind="cross_lost",
        of=(Hash,),
        where="code",
        says="of crossed fields only the first is hashed",
        change=_if_crossed(HashOfOneField),
    ),
    _id("id_narrowed", "the id passes through an unsigned byte", IdNarrowed, "features"),
    _id("id_from_one", "ids are taken to count from 1: one less", IdFromOne, "features"),
    _id(
        "unknown_id_forgotten",
        "ids are encoded one column too low: no column is kept for the unknown",
        CodeWithoutUnknown,
    ),
    _id("vocabulary_reversed", "the vocabulary stands in falling order", CodeOfLastFirst),
    _id("vocabulary_as_text", "the vocabulary was sorted as text", CodeByText),
    _id("codes_of_serving_frame", "codes are made of the ids of one batch", CodeOfServingFrame),
    _id("unknown_is_first", "an unknown id is taken for the first known one", UnknownIsFirst),
)
