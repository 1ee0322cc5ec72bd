import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from btbnet_jax.checkpoints import CheckpointError, Checkpoints, read
from btbnet_jax.config import Normalisation, TrainConfig
from btbnet_jax.initial import initial_params, load_trained
from tests.small_runs import CONFIG
from tests.vgg16_writer import torch_tensors, write_safetensors

BLUE_FIRST = Normalisation(order="bgr", scale=255.0, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
# A run of three recurrent steps, whose weights came with a normalisation of their own.
FIRST = dataclasses.replace(
    CONFIG, network=dataclasses.replace(CONFIG.network, num_steps=3, normalisation=BLUE_FIRST), seed=3
)


def started_from(path: Path) -> TrainConfig:
    return dataclasses.replace(CONFIG, init_from=str(path))


@pytest.fixture(scope="module")
def fresh() -> Any:
    """Fresh parameters of CONFIG, on the host."""
    return jax.device_get(initial_params(CONFIG)[1])


@pytest.fixture(scope="module")
def first(fresh: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run: the best checkpoint of step 5, with an average, and a newer one of step 7."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step, metric in ((5, 0.9), (7, 0.1)):
            trees = {"params": plus(fresh, step), "average": plus(fresh, step + 0.5)}
            checkpoints.save(step, trees, {"config": FIRST.to_json()}, metric=metric)
    return folder


def plus(params: Any, value: float) -> Any:
    return jax.tree.map(lambda leaf: leaf + np.float32(value), params)


def assert_equal(tree: Any, other: Any) -> None:
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_what_is_loaded_of_a_run_is_the_average_of_its_best_checkpoint(first: Path, fresh: Any):
    trained = load_trained(first)
    assert_equal(trained.params, plus(fresh, 5.5))
    assert trained.config == FIRST
    assert trained.digest == read(first / "checkpoints" / "5").digests["average"]


def test_a_checkpoint_can_be_named_itself(first: Path, fresh: Any):
    assert_equal(load_trained(first / "checkpoints" / "7")[0], plus(fresh, 7.5))


def test_where_there_is_no_average_the_parameters_are_loaded(tmp_path: Path, fresh: Any):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"params": fresh}, {"config": FIRST.to_json()})
    assert_equal(load_trained(tmp_path)[0], fresh)


def test_a_second_stage_starts_from_the_parameters_and_the_normalisation_of_the_first(first: Path, fresh: Any):
    config, params = initial_params(started_from(first))  # with two recurrent steps, where the first had three
    assert_equal(params, plus(fresh, 5.5))
    assert config == dataclasses.replace(
        started_from(first), network=dataclasses.replace(CONFIG.network, normalisation=BLUE_FIRST)
    )


def test_a_run_that_starts_from_nothing_keeps_its_configuration(fresh: Any):
    config, params = initial_params(CONFIG)
    assert config == CONFIG
    assert_equal(params, fresh)


def test_vgg16_goes_into_the_trunks_with_its_normalisation_and_the_rest_is_fresh(tmp_path: Path, fresh: Any):
    tensors = torch_tensors(divisor=32)
    path = write_safetensors(tmp_path / "vgg16.safetensors", tensors)
    config, params = initial_params(started_from(path))
    trunk = params["stream1"].pop("trunk")
    assert sorted(trunk) == sorted(fresh["stream1"]["trunk"])
    for name, index in (("conv1_1", 0), ("conv5_3", 28)):
        kernel = tensors[f"features.{index}.weight"].transpose(2, 3, 1, 0)  # from (out, in, h, w)
        np.testing.assert_array_equal(trunk[name]["kernel"], kernel)
        np.testing.assert_array_equal(trunk[name]["bias"], tensors[f"features.{index}.bias"])
    rest = {**fresh, "stream1": {name: part for name, part in fresh["stream1"].items() if name != "trunk"}}
    assert_equal(params, rest)
    expected = Normalisation(order="rgb", scale=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    assert config.network.normalisation == expected


def test_vgg16_of_another_width_is_refused_with_what_differs(tmp_path: Path):
    path = write_safetensors(tmp_path / "vgg16.safetensors", torch_tensors(divisor=16))
    with pytest.raises(
        ValueError, match=r"vgg16\.safetensors(?s:.*)features\.0\.weight \(expected \(2, 3, 3, 3\), got"
    ):
        initial_params(started_from(path))


def test_parameters_of_another_network_are_refused_with_all_that_differs(tmp_path: Path, fresh: Any):
    other = jax.tree.map(lambda leaf: leaf, fresh)
    del other["rrnet"]
    other["stream2"] = {"top1": {"bias": np.zeros(3, np.float32)}}
    other["fnet"]["conv1"]["bias"] = np.zeros(7, np.float32)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"params": other}, {"config": FIRST.to_json()})
    with pytest.raises(ValueError, match="are not those of the network that is configured") as caught:
        initial_params(started_from(tmp_path))
    *lines, last = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert last.startswith("That one has --scales=")
    assert f"fnet/conv1/bias: [7], wanted {list(fresh['fnet']['conv1']['bias'].shape)}" in lines
    missing = sorted(
        f"rrnet/{jax.tree_util.keystr(path, simple=True, separator='/')}: missing, wanted {list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(fresh["rrnet"])
    )
    assert [line for line in lines if line.startswith("rrnet")] == missing
    assert "stream2/top1/bias: [3], wanted none" in lines
    assert len(lines) == len(missing) + 2


def test_a_start_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"there is no run, no checkpoint and no file .*absent"):
        initial_params(started_from(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoint; give the folder of a run"):
        initial_params(started_from(tmp_path))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of coroutines that Orbax leaves
@pytest.mark.usefixtures("collect_garbage")
def test_a_damaged_best_checkpoint_is_not_replaced_by_another_unasked(first: Path, tmp_path: Path):
    run = shutil.copytree(first, tmp_path / "run")
    shutil.rmtree(run / "checkpoints" / "5" / "record")
    with pytest.raises(
        CheckpointError, match=r"checkpoints/5 cannot be read.* To use another one, name it: .*checkpoints/7"
    ):
        load_trained(run)
