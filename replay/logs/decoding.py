"""Parquet files decoded with verified checksums and a bound on their size; damage is one error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from replay.errors import LogError

# A 900-byte file can decode to gigabytes, and footers lie: what is counted is what was decoded.
MAX_ROW_GROUP_BYTES = 2 << 30
# Rows decoded before the bytes are counted again; measured: as fast as whole row groups.
_ROWS_PER_READ = 128


# Touches every footer entry; what raises here is left to be raised, and worded, by the reader.
_PROBE = """
import sys
import pyarrow.parquet as pq
for path in sys.argv[1:]:
    footer = pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        for column in range(footer.num_columns):
            footer.row_group(group).column(column).statistics
"""
_PROBE_TIMEOUT_S = 120.0  # footers are small: reading them takes well under a second


def probe_footers(paths: Sequence[Path]) -> None:
    """Read the footers in a process of their own, which a damaged one may take down.

    Pages have checksums, footers have none: about one bit flip in a hundred there (sizes of level
    histograms) makes Arrow end the whole process instead of raising.

    Raises:
        LogError: It did. Any other damage is left for the reader to find.
    """
    command = [sys.executable, "-c", _PROBE, *map(str, paths)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        ended = "reading the footers does not end"
    else:
        if done.returncode in {0, 1}:  # 1: a Python exception
            return
        ended = "its footer is damaged"
    raise LogError(
        f"the file is not readable Parquet: {ended}.",
        where=", ".join(map(str, paths)),
        fix="write or import the day again",
    )


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a file whose text columns decode as dictionaries, so that no text is multiplied.

    Raises:
        LogError: Whatever way it turns out, inside the `with` too, that the file is damaged.
    """
    try:
        texts = _text_columns(path)
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            yield file
    except LogError:
        raise
    except FileNotFoundError as error:
        raise LogError(
            "the file is gone.", where=str(path), fix="write or import the day again"
        ) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        # A MemoryError too: a flipped length asks for more memory than there is.
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise LogError(
            f"the file is not readable Parquet: {first_line.rstrip('.')}.",
            where=str(path),
            fix="it is truncated or damaged: write or import the day again",
        ) from error


def decode_row_group(file: pq.ParquetFile, row_group: int, *, where: str) -> pa.Table:
    """Decode one row group, in steps, for as long as it stays within MAX_ROW_GROUP_BYTES.

    Raises:
        LogError: It does not.
    """
    columns = _columns(file, row_group)
    # A value takes at most 8 bytes (an index of 4 beside its text); nulls take room too.
    _check_size(sum(max(8 * c.num_values, c.total_uncompressed_size) for c in columns), where)
    batches: list[pa.RecordBatch] = []
    decoded = 0
    for batch in file.iter_batches(
        batch_size=_ROWS_PER_READ, row_groups=[row_group], use_threads=False
    ):
        decoded += batch.nbytes + sum(_text_bytes(column) for column in batch.columns)
        _check_size(decoded, where)
        batches.append(batch)
    return pa.Table.from_batches(batches, schema=file.schema_arrow)


def read_leaves(path: Path, *leaves: str) -> pa.Table:
    """Some columns of a file, by dotted path without list levels: `candidates.click`.

    A path the file does not have is left out of the result.

    Raises:
        LogError: The file is damaged.
    """
    with open_parquet(path) as file:
        wanted = [p for p in _paths(file) if _without_list_levels(p) in leaves]
        return file.read(columns=wanted, use_threads=False)


def _text_columns(path: Path) -> list[str]:
    with pq.ParquetFile(path) as file:
        columns = _columns(file, 0) if file.num_row_groups else []
        return [one.path_in_schema for one in columns if one.physical_type == "BYTE_ARRAY"]


def _paths(file: pq.ParquetFile) -> list[str]:
    return [file.schema.column(i).path for i in range(len(file.schema))]


def _columns(file: pq.ParquetFile, row_group: int) -> list[pq.ColumnChunkMetaData]:
    """The columns of a row group, where every shard asks for them.

    A column of `file.schema` and that schema hold each other: half a megabyte for every shard,
    until the garbage collector comes by, which it seldom does.
    """
    group = file.metadata.row_group(row_group)
    return [group.column(i) for i in range(group.num_columns)]


def _check_size(num_bytes: int, where: str) -> None:
    if num_bytes > MAX_ROW_GROUP_BYTES:
        raise LogError(
            f"the row group decodes to more than {MAX_ROW_GROUP_BYTES:,} bytes.",
            where=where,
            fix="write smaller row groups (512 requests is usual)",
        )


def _text_bytes(values: pa.Array) -> int:
    """Bytes that the dictionaries of a column, and of what is nested in it, stand for."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths = pc.binary_length(values.dictionary).cast(pa.int64())
        return int(pc.sum(lengths.take(values.indices)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(_text_bytes(values.field(i)) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _text_bytes(values.values)
    return 0


def _without_list_levels(path: str) -> str:
    # Writers name a list's two inner levels differently: list.element, list.item, bag.array.
    parts = path.split(".")
    return ".".join([parts[0], *parts[3:]]) if len(parts) > 3 else path
