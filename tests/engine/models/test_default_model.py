"""The default model itself; skipped where it cannot be pulled."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import DownloadError
from engine.fim import Template
from engine.models import gguf, measure, store
from engine.templates import stop_tokens, template_from_metadata
from training.sentinels import sentinels_of


@pytest.fixture(scope="module")
def default_model() -> store.ModelFile:
    try:
        return store.resolve()
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.mark.model
def test_default_model(default_model: store.ModelFile) -> None:
    found = gguf.check(default_model.path)
    entry = default_model.entry
    assert entry is not None
    tokens = found.metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == 49152 and all(stop in tokens for stop in entry.stop)
    assert found.metadata["llama.context_length"] == entry.context
    assert all(verdict.ok for verdict in store.verify(entry.name))


@pytest.mark.model
def test_its_templates_show_what_it_was_taught_with(default_model: store.ModelFile) -> None:
    metadata = gguf.read_metadata(default_model.path)
    taught = sentinels_of(metadata)
    prefix, suffix, middle = (taught.prefix,), (taught.suffix,), (taught.middle,)
    assert template_from_metadata(metadata, "smollm2") == Template("psm", (), prefix, suffix, middle)
    assert template_from_metadata(metadata, "smollm2-spm") == Template("spm", prefix, (), suffix, middle)
    assert taught.end in stop_tokens(metadata, "smollm2")


@pytest.mark.model
def test_measuring_the_default_model(default_model: store.ModelFile) -> None:
    with measure.probe(default_model.path) as model:
        text = b"def add(a, b):\n    return a + b\n" * 20
        tokens = model.tokens(text)
        assert sum(map(model.token_bytes, tokens)) == len(text)
        repeated = measure.bits_per_byte(model, [text])
        assert 0 < repeated < 0.2 < measure.bits_per_byte(model, measure.code_windows(1)) < 2
        assert measure.decode_ms(model, tokens[:32], width=8, repeats=2) > 0


@pytest.mark.model
def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    from engine.errors import BackendError
    from engine.models.quantize import requantize

    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(BackendError, match="could not make q8_0 weights"):
        requantize(tmp_path / "x.gguf", tmp_path / "y.gguf", "q8_0")
