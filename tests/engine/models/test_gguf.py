"""The GGUF reader: every kind of value, and no damaged file that is not called damaged."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelCorrupt, ModelNotFound
from engine.models import gguf

Make = Callable[..., bytes]


def test_every_kind_of_value(tmp_path: Path, make_gguf: Make) -> None:
    pairs = {
        "u8": (0, 200), "i8": (1, -3), "u16": (2, 60000), "i16": (3, -300), "u32": (4, 1 << 31),
        "i32": (5, -9), "f32": (6, 0.5), "yes": (7, True), "text": (8, "añ😀"), "u64": (10, 1 << 63),
        "i64": (11, -1), "f64": (12, 0.1), "words": (9, (8, ["Ġa", "", "\udcff"])), "ids": (9, (5, [3, -1])),
        "flags": (9, (7, [True, False])),
    }  # fmt: skip
    path = tmp_path / "m.gguf"
    path.write_bytes(make_gguf(pairs))
    found = gguf.read_metadata(path)
    for key, (kind, value) in pairs.items():
        if kind != 9:
            assert found[key] == value and type(found[key]) is type(value), key
    assert found["words"] == ["Ġa", "", "\udcff"]
    assert found["words"][2].encode("utf-8", "surrogateescape") == b"\xff"
    assert isinstance(found["ids"], np.ndarray) and found["ids"].tolist() == [3, -1]
    assert found["flags"].tolist() == [True, False]


def test_tensors_and_expected_length(tmp_path: Path, make_gguf: Make) -> None:
    path = tmp_path / "m.gguf"
    tensors = {"norm": (0, (3,), bytes(12)), "w": (8, (64, 3), bytes(34 * 6))}
    path.write_bytes(make_gguf(None, tensors) + b"some padding")
    found = gguf.check(path)
    assert [(t.name, t.type, t.shape, t.offset_bytes, t.size_bytes) for t in found.tensors] == [
        ("norm", "F32", (3,), 0, 12),
        ("w", "Q8_0", (64, 3), 32, 204),
    ]
    assert found.expected_bytes == path.stat().st_size - len(b"some padding")
    assert found.weights == "q8_0"


def test_a_file_without_tensors_is_whole(tmp_path: Path, make_gguf: Make) -> None:
    path = tmp_path / "vocab.gguf"
    path.write_bytes(make_gguf(None, {}))
    assert gguf.check(path).tensors == ()


def test_truncated_anywhere(tmp_path: Path, make_gguf: Make) -> None:
    whole = make_gguf({"a": (8, "b"), "list": (9, (8, ["x", "yy"])), "n": (9, (4, [1, 2, 3]))})
    path = tmp_path / "m.gguf"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelCorrupt) as caught:
            gguf.check(path)
        assert str(path) in str(caught.value), length
    path.write_bytes(whole[:-1])
    with pytest.raises(ModelCorrupt, match=f"truncated: {len(whole) - 1} bytes found, {len(whole)} expected"):
        gguf.check(path)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path, make_gguf: Make) -> None:
    whole = make_gguf(
        {"a": (8, "b"), "general.alignment": (4, 32), "list": (9, (8, ["x", "yy"])), "n": (9, (4, [1, 2]))}
    )
    path, seed = tmp_path / "m.gguf", 20
    generator = random.Random(seed)
    for trial in range(1000):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            gguf.check(path)
        except ModelCorrupt:
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, trial {trial}: {error!r}")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04 a wheel perhaps, long enough", r"not a GGUF file: it starts with 'PK\\x03\\x04'"),
        (b"", "it starts with nothing"),
        (b"GGUF\x01\x00\x00\x00" + bytes(16), "GGUF version 1 found, 2 or 3 expected"),
        (b"GGUF\x00\x00\x00\x03" + bytes(16), "GGUF version 50331648 found"),
        (
            b"GGUF\x03\x00\x00\x00" + bytes(8) + b"\xff" * 8,
            "it announces 18,446,744,073,709,551,615 metadata keys",
        ),
    ],
)
def test_wrong_type(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(start)
    with pytest.raises(ModelCorrupt, match=message):
        gguf.read_metadata(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="there is no file"):
        gguf.check(tmp_path / "none.gguf")
    with pytest.raises(ModelNotFound, match="cannot be read"):
        gguf.check(tmp_path)
