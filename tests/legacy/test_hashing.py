import pytest

from legacy.hashing import HashBuckets, murmur3

# Vectors published with the algorithm's ports (Wikipedia, "MurmurHash", and SMHasher's tests).
VECTORS = [
    (b"", 0, 0x00000000),
    (b"", 1, 0x514E28B7),
    (b"", 0xFFFFFFFF, 0x81F16F39),
    (b"\xff\xff\xff\xff", 0, 0x76293B50),
    (b"test", 0, 0xBA6BD213),
    (b"test", 0x9747B28C, 0x704B81DC),
    (b"Hello, world!", 0, 0xC0363E43),
    (b"Hello, world!", 0x9747B28C, 0x24884CBA),
    (b"The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    (b"a", 0x9747B28C, 0x7FA09EA6),
    (b"aa", 0x9747B28C, 0x5D211726),
    (b"aaa", 0x9747B28C, 0x283E0130),
    (b"aaaa", 0x9747B28C, 0x5A97808A),
    ("ππππππππ".encode(), 0x9747B28C, 0xD58063C1),
]


@pytest.mark.parametrize(("data", "seed", "expected"), VECTORS)
def test_murmur3_gives_the_published_values(data: bytes, seed: int, expected: int) -> None:
    assert murmur3(data, seed) == expected


def test_buckets_leave_0_for_missing() -> None:
    bucket_of = HashBuckets(seed=0, buckets=16, lower=False)

    assert bucket_of("test") == 1 + 0xBA6BD213 % 15
    assert {bucket_of(str(i)) for i in range(1000)} == set(range(1, 16))


def test_lower_maps_ascii_letters_alone() -> None:
    lower = HashBuckets(seed=3, buckets=1 << 30, lower=True)
    none = HashBuckets(seed=3, buckets=1 << 30, lower=False)

    assert lower("KÖLN") == none("kÖln")
    assert lower("KÖLN") != none("köln")


def test_a_text_is_hashed_the_same_after_the_memory_was_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("legacy.hashing._REMEMBERED", 2)
    bucket_of = HashBuckets(seed=0, buckets=1 << 20, lower=False)

    first = [bucket_of(text) for text in "abcab"]

    assert first == [bucket_of(text) for text in "abcab"]
    assert len(bucket_of._known) <= 2
