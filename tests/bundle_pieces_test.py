import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from btbnet_jax.bundle import BundleError, hand_out, join, limits
from btbnet_jax.bundle.pieces import INDEX, cut
from btbnet_jax.checkpoints import Checkpoints
from btbnet_jax.initial import initial_params
from btbnet_jax.storage import Storage
from btbnet_jax.weights import WeightsError, flat, load_weights
from tests.small_runs import CONFIG


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with checkpoints that were never validated, each with an average that is one larger."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    params = jax.device_get(initial_params(CONFIG)[1])
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in (1, 2):
            average = jax.tree.map(lambda leaf, step=step: leaf + np.float32(step), params)
            trees = {"params": params, "average": average, "optimiser": {"trace": params}}
            checkpoints.save(step, trees, {"config": CONFIG.to_json()})
    return folder


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST_PIECE", 8000)


@pytest.fixture
def handed_out(run: Path, tmp_path: Path, small_pieces: None) -> Path:
    hand_out(run, tmp_path / "out")
    return tmp_path / "out"


def pieces_of(folder: Path) -> list[Path]:
    return [folder / name for name in json.loads((folder / INDEX).read_text())["pieces"]]


def test_pieces_make_the_file_of_the_newest_average_in_half_precision_again(handed_out: Path, tmp_path: Path):
    pieces = pieces_of(handed_out)
    assert 2 < len(pieces) <= 8
    assert all(piece.stat().st_size <= 8000 for piece in pieces)
    assert sorted(handed_out.iterdir()) == sorted([*pieces, handed_out / INDEX])  # parameters only
    weights = join(handed_out, tmp_path / "joined.safetensors")
    assert load_weights(tmp_path / "joined.safetensors").digest == weights.digest
    assert (weights.storage, weights.summary["step"]) == ("float16", 2)
    expected = flat(jax.tree.map(lambda leaf: leaf + np.float32(2), initial_params(CONFIG)[1]))
    for name, array in flat(weights.params).items():
        np.testing.assert_allclose(array, expected[name], rtol=2**-10, err_msg=name)


def test_what_a_run_learned_in_bfloat16_computes_in_float32_at_home(tmp_path: Path):
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, dtype="bfloat16"))
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(1, {"params": initial_params(config)[1]}, {"config": config.to_json()})
    hand_out(tmp_path / "run", tmp_path / "out")
    assert join(tmp_path / "out", tmp_path / "joined.safetensors").config == CONFIG.network


def test_what_is_handed_out_again_takes_the_place_of_what_was(run: Path, handed_out: Path, tmp_path: Path):
    before = set(pieces_of(handed_out))
    said = hand_out(run / "checkpoints" / "1", handed_out)
    assert not before & set(handed_out.iterdir())
    assert join(handed_out, tmp_path / "joined.safetensors").summary["step"] == 1
    assert "after 1 steps" in said


def test_a_damaged_piece_and_a_missing_one_are_named_and_nothing_is_written(handed_out: Path, tmp_path: Path):
    piece = pieces_of(handed_out)[1]
    content = bytearray(piece.read_bytes())
    content[100] ^= 1
    piece.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{piece.name} is damaged: its sha256 is not that in pieces\.json"):
        join(handed_out, tmp_path / "joined.safetensors")
    piece.unlink()
    with pytest.raises(BundleError, match=rf"lacks {piece.name}, one of \d pieces: copy all of them"):
        join(handed_out, tmp_path / "joined.safetensors")
    assert not (tmp_path / "joined.safetensors").exists()


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (None, r"there is no .*pieces\.json"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"pieces": ["a"], "sha256": ""}', "cannot be read"),
        ('{"pieces": {"../a": ""}, "sha256": ""}', "names files of other folders"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: str | None, words: str):
    if index is not None:
        (tmp_path / INDEX).write_text(index)
    with pytest.raises(BundleError, match=words):
        join(tmp_path, tmp_path / "joined.safetensors")


def test_pieces_in_another_order_are_found(handed_out: Path, tmp_path: Path):
    index = json.loads((handed_out / INDEX).read_text())
    index["pieces"] = dict(reversed(index["pieces"].items()))
    (handed_out / INDEX).write_text(json.dumps(index))
    with pytest.raises(BundleError, match="not in the order"):
        join(handed_out, tmp_path / "joined.safetensors")


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_a_licence_is_written_into_the_file_and_changes_no_parameter(
    run: Path, small_pieces: None, tmp_path: Path, storage: Storage
):
    hand_out(run, tmp_path / "out", storage=storage)
    plain = join(tmp_path / "out", tmp_path / "plain.safetensors")
    joined = join(tmp_path / "out", tmp_path / "joined.safetensors", licence="CC0-1.0")
    written = load_weights(tmp_path / "joined.safetensors")
    assert (plain.licence, joined.licence, written.licence) == ("", "CC0-1.0", "CC0-1.0")
    assert plain.digest == joined.digest == written.digest


def test_pieces_of_another_file_take_no_files_place(tmp_path: Path, small_pieces: None):
    (tmp_path / "a").write_bytes(b"no weights")
    digest = hashlib.sha256(b"no weights").hexdigest()
    (tmp_path / INDEX).write_text(json.dumps({"pieces": {"a": digest}, "sha256": digest}))
    (tmp_path / "joined.safetensors").write_text("mine")
    with pytest.raises(WeightsError, match="is no safetensors file"):
        join(tmp_path, tmp_path / "joined.safetensors", overwrite=True)
    assert (tmp_path / "joined.safetensors").read_text() == "mine"


def test_a_file_that_is_there_is_not_replaced_unasked(handed_out: Path, tmp_path: Path):
    shutil.copy(handed_out / INDEX, tmp_path / "joined.safetensors")
    with pytest.raises(FileExistsError, match="is there already"):
        join(handed_out, tmp_path / "joined.safetensors")
    join(handed_out, tmp_path / "joined.safetensors", overwrite=True)


def test_pieces_are_the_fewest_of_nearly_one_length(small_pieces: None):
    whole = bytes(range(256)) * 125  # 32,000
    for length, count in ((1, 1), (8000, 1), (8001, 2), (32_000, 4)):
        pieces = cut(whole[:length])
        assert (len(pieces), b"".join(pieces)) == (count, whole[:length])
        assert max(map(len, pieces)) - min(map(len, pieces)) < len(pieces)


def test_what_is_over_a_limit_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MOST_WEIGHTS", 10_000)
        with pytest.raises(BundleError, match=r"weights in float32: .* allowed: hand it out in fewer bits"):
            hand_out(run, tmp_path / "out", storage="float32")
    monkeypatch.setattr(limits, "LARGEST_PIECE", 1000)
    with pytest.raises(BundleError, match="pieces of at most 1,000 bytes, and at most 8 are allowed"):
        hand_out(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_has_saved_nothing_has_nothing_to_hand_out(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        hand_out(tmp_path, tmp_path / "out")
