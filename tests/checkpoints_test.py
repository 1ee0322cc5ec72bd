import hashlib
import json
import logging
import math
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from btbnet_jax.checkpoints import CheckpointError, Checkpoints, find, read
from btbnet_jax.digests import digest

# Where Orbax fails to read or write one array, it leaves the coroutines of the others behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collect_garbage"),
]

SHAPE = (48, 64)


def params(value: float) -> dict[str, Any]:
    """Parameters that no compression makes small."""
    rng = np.random.default_rng(round(value * 1000))
    return {"conv": {"kernel": rng.standard_normal(SHAPE).astype(np.float32), "bias": np.full(3, value, np.float32)}}


def trees(value: float) -> dict[str, Any]:
    return {"params": params(value), "optimiser": (np.int32(value), [params(value)])}


def targets() -> dict[str, Any]:
    """The shapes of `trees`, on one device."""
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def target(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(np.shape(leaf), np.asarray(leaf).dtype, sharding=sharding)

    return jax.tree.map(target, trees(0.0))


def save(folder: Path, metrics: dict[int, float]) -> list[int]:
    """Saves `trees(step)` at some steps, and returns the steps that are left."""
    with Checkpoints(folder) as checkpoints:
        for step, metric in metrics.items():
            checkpoints.save(step, trees(step), {}, metric=metric)
        return checkpoints.steps()


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the steps 10, 20 and 30, the first of them the best."""
    folder = tmp_path_factory.mktemp("checkpoints") / "run" / "checkpoints"
    assert save(folder, {10: 0.9, 20: 0.2, 30: 0.3}) == [10, 20, 30]
    return folder


@pytest.fixture
def folder(three: Path, tmp_path: Path) -> Path:
    """A copy of them to damage."""
    return shutil.copytree(three, tmp_path / "run" / "checkpoints")


def largest_file(folder: Path) -> Path:
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip_a_byte(folder: Path) -> None:
    path = largest_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(folder: Path) -> None:
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def lose_the_record(folder: Path) -> None:
    shutil.rmtree(folder / "record")


def restored_step(folder: Path) -> int:
    """The step that is restored, after all of its values were compared with those that were saved."""
    with Checkpoints(folder) as checkpoints:
        checkpoint = checkpoints.restore(targets())
    assert checkpoint is not None
    expected = trees(checkpoint.step)
    assert jax.tree.structure(checkpoint.trees) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.trees, expected)
    return checkpoint.step


def test_what_is_saved_is_restored_with_its_types_places_and_record(tmp_path: Path):
    record = {"config": {"steps": 5, "scales": ["1", "4/5"]}, "next_batch": 7}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, trees(7), record)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoint = checkpoints.restore(targets())
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.record) == (7, record)
    jax.tree.map(np.testing.assert_array_equal, checkpoint.trees, trees(7))
    wanted = jax.tree.map(lambda leaf: (leaf.dtype, leaf.sharding), targets())
    assert jax.tree.map(lambda leaf: (leaf.dtype, leaf.sharding), checkpoint.trees) == wanted


def test_without_targets_arrays_come_to_the_host_and_only_those_that_are_asked_for(three: Path):
    checkpoint = read(three / "20", only=("params", "average"))
    assert list(checkpoint.trees) == ["params"]
    assert {type(leaf) for leaf in jax.tree.leaves(checkpoint.trees)} == {np.ndarray}
    np.testing.assert_array_equal(checkpoint.trees["params"]["conv"]["kernel"], params(20)["conv"]["kernel"])


def test_a_folder_without_checkpoints_restores_nothing(tmp_path: Path):
    with Checkpoints(tmp_path / "new") as checkpoints:
        assert checkpoints.steps() == []
        assert checkpoints.restore(targets()) is None


def test_the_last_two_and_the_best_are_kept(tmp_path: Path):
    assert save(tmp_path, {1: 0.5, 2: 0.9, 3: 0.1, 4: 0.2, 5: 0.3}) == [2, 4, 5]
    assert find(tmp_path) == [tmp_path / "2", tmp_path / "5", tmp_path / "4"]


@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_never_takes_the_place_of_the_best(tmp_path: Path, metric: float):
    assert save(tmp_path, {1: 0.5, 2: metric, 3: metric, 4: metric}) == [1, 3, 4]
    assert find(tmp_path)[0] == tmp_path / "1"


def test_without_a_metric_the_newest_is_the_best(tmp_path: Path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (8, 9, 10, 11):
            checkpoints.save(step, trees(step), {})
    assert find(tmp_path) == [tmp_path / "11", tmp_path / "10"]


def test_checkpoints_are_found_from_the_run_their_folder_or_one_of_them(three: Path):
    for path in (three.parent, three):
        assert find(path) == [three / "10", three / "30", three / "20"]
    assert find(three / "20") == [three / "20"]


def test_looking_for_checkpoints_changes_nothing_in_a_folder_that_is_being_written_to(folder: Path):
    unfinished = folder / "40.orbax-checkpoint-tmp"
    unfinished.mkdir()
    before = sorted(folder.rglob("*"))
    find(folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("kind", ["absent", "empty folder", "run without checkpoints"])
def test_where_there_is_no_checkpoint_the_error_says_what_to_give(tmp_path: Path, kind: str):
    if kind != "absent":
        (tmp_path / "run" / ("checkpoints" if "run" in kind else ".")).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"run holds no checkpoint; give the folder of a run"):
        find(tmp_path / "run")
    assert (tmp_path / "run").exists() == (kind != "absent")


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, empty, lose_the_record])
def test_after_damage_the_newest_good_checkpoint_counts_and_the_log_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture, damage
):
    damage(folder / "30")
    with caplog.at_level(logging.WARNING):
        assert restored_step(folder) == 20
    (message,) = [record.getMessage() for record in caplog.records if record.name == "root"]
    assert str(folder / "30") in message
    assert "going on from that of step 20, and keeping this one as 30.damaged" in message
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "30.damaged"]


def test_a_step_may_be_damaged_saved_again_and_damaged_again(folder: Path):
    for _ in range(2):
        flip_a_byte(folder / "30")
        assert restored_step(folder) == 20
        assert save(folder, {30: 0.1}) == [10, 20, 30]
    assert restored_step(folder) == 30
    assert len(list(folder.glob("30.damaged*"))) == 2


def test_where_all_are_damaged_it_is_an_error_and_remains_one(folder: Path):
    for step in (10, 20, 30):
        flip_a_byte(folder / str(step))
    for _ in range(2):  # a run that starts anew at the second try would be the worst of surprises
        with (
            Checkpoints(folder) as checkpoints,
            pytest.raises(CheckpointError, match="none of the checkpoints") as caught,
        ):
            checkpoints.restore(targets())
        assert [str(folder / step) in str(caught.value) for step in ("10", "20", "30")] == [True] * 3
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "30"]


def test_a_flipped_byte_is_found_without_targets_too(folder: Path):
    flip_a_byte(folder / "10")
    with pytest.raises(CheckpointError, match=r"checkpoints/10 (is damaged: the sha256|cannot be read)"):
        read(folder / "10", only=("params", "optimiser"))


def test_a_value_that_orbax_restores_without_a_word_is_found_by_its_digest(tmp_path: Path):
    save(tmp_path, {1: 0.5})
    record = tmp_path / "1" / "record" / "metadata"
    values = json.loads(record.read_text())
    values["digests"]["params"] = hashlib.sha256(b"of other parameters").hexdigest()
    record.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="is damaged: the sha256 of its params is not that recorded"):
        read(tmp_path / "1")


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 4096], ids=["no room", "room for a part"])
def test_a_full_disk_leaves_the_previous_checkpoint_good(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture, size: int
):
    with Checkpoints(folder) as checkpoints:
        with room_for(size), pytest.raises(CheckpointError) as caught:
            checkpoints.save(40, trees(40), {}, metric=1.0)
        assert checkpoints.steps() == [10, 20, 30]
    message = str(caught.value)
    assert message.startswith(f"the checkpoint of step 40 could not be saved to {folder}: ")
    assert "File too large" in message
    assert message.endswith("That of step 30 is still good.")
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
    assert restored_step(folder) == 30
    assert save(folder, {40: 0.1}) == [10, 30, 40]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"cannot write checkpoints to .*file/checkpoints"):
        Checkpoints(tmp_path / "file" / "checkpoints")


class Pair(NamedTuple):
    first: Any
    second: Any


def test_the_digest_does_not_depend_on_containers_their_order_or_where_arrays_are():
    one, two = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.int32)
    expected = digest({"a": {"first": one, "second": two}})
    assert digest({"a": Pair(one, two)}) == expected
    assert digest({"a": {"second": jax.numpy.asarray(two), "first": jax.numpy.asarray(one)}}) == expected
    assert digest([one, two]) == digest((one, two)) == digest({"0": one, "1": two, "nothing": None})


def test_the_digest_is_sha256_of_path_type_shape_and_values():
    values = np.array([[1.0, -2.0]], np.float32)
    text = b"conv/bias float32 (1, 2)\n" + bytes.fromhex("0000803f000000c0")
    assert digest({"conv": {"bias": values}}) == hashlib.sha256(text).hexdigest()
    others = (values.T, values.astype(np.float64), values.view(np.int32), -values)
    digests = {digest({"conv": {"bias": other}}) for other in (values, *others)} | {digest({"conv": {"b": values}})}
    assert len(digests) == 6
