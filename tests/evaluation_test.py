from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax import metrics
from btbnet_jax.baselines import all_blurred, all_in_focus
from btbnet_jax.data import Examples, ordered_batches
from btbnet_jax.evaluation import Method, baseline_method, count_levels, maps_method, network_method, pictures
from btbnet_jax.images import resize_image, write_png
from btbnet_jax.network import init_params
from btbnet_jax.training import make_mesh
from btbnet_jax.types import Batch
from tests.small_runs import CONFIG


@pytest.fixture(scope="module")
def small(small_data: Path) -> Examples:
    return Examples(small_data, "pairs/small", "train")


@pytest.fixture(scope="module")
def params() -> Any:
    return init_params(jax.random.key(0), CONFIG.network)


@pytest.fixture(scope="module")
def maps(small: Examples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of maps, each the mask of its image, and of files that are none."""
    folder = tmp_path_factory.mktemp("maps")
    for index in range(len(small)):
        write_png(folder / f"{small.name(index)}.png", small[index][1])
    write_png(folder / "another.png", small[0][1])
    (folder / "readme.txt").touch()
    return folder


def names_of(examples: Examples) -> list[str]:
    return [examples.name(index) for index in range(len(examples))]


def files_of(maps: Path, examples: Examples) -> dict[str, Path]:
    return {name: maps / f"{name}.png" for name in names_of(examples)}


def test_a_network_gives_its_final_map_whatever_lies_in_the_padding(small: Examples, params: Any):
    batch = next(ordered_batches(small, size=16, batch_size=2))
    method = network_method(CONFIG.network, params)
    expected = np.asarray(method(batch, ["a", "b"]))
    assert (expected.shape, expected.min() >= 0, expected.max() <= 1) == ((2, 16, 16, 1), True, True)
    sizes = np.array([[16, 16], [9, 12]], np.int32)
    clean, dirty = (batch.image.copy() for _ in range(2))
    for array, value in ((clean, 0), (dirty, 200)):
        array[1, 9:], array[1, :, 12:] = value, value
    one, other = (np.asarray(method(batch._replace(image=array, size=sizes), ["a", "b"])) for array in (clean, dirty))
    np.testing.assert_array_equal(one[1, :9, :12], other[1, :9, :12])
    np.testing.assert_array_equal(one[0], expected[0])


def test_devices_that_share_a_batch_give_the_same_maps(small: Examples, params: Any):
    batch = next(ordered_batches(small, size=16, batch_size=2))
    one = network_method(CONFIG.network, params)(batch, ["a", "b"])
    mesh = make_mesh(2)
    two = network_method(CONFIG.network, jax.device_get(params), mesh=mesh)(batch, ["a", "b"])
    assert len(two.devices()) == 2
    np.testing.assert_allclose(np.asarray(two), np.asarray(one), atol=1e-6)


def test_baselines_are_methods(small: Examples):
    batch = next(ordered_batches(small, size=0))
    (height, width) = batch.size[0]
    for baseline, level in ((all_blurred, 0), (all_in_focus, 1)):
        focus_map = np.asarray(baseline_method(baseline)(batch, ["a"]))
        assert (focus_map[0, :height, :width] == level).all()


def test_maps_of_a_folder_are_resized_to_the_size_that_is_scored_at(small: Examples, maps: Path):
    method = maps_method(files_of(maps, small))
    for batch in ordered_batches(small, size=16, batch_size=3):
        names = [small.name(index) if index >= 0 else "" for index in batch.example.tolist()]
        found = np.asarray(method(batch, names))
        for row, index in enumerate(batch.example):
            expected = resize_image(small[int(index)][1], (16, 16)) if index >= 0 else np.zeros((16, 16))
            np.testing.assert_array_equal(found[row, ..., 0], expected)


def test_maps_with_white_for_blur_are_turned_round(small: Examples, maps: Path):
    batch = next(ordered_batches(small, size=0))
    height, width = batch.size[0]
    found = np.asarray(maps_method(files_of(maps, small), focus_is_white=False)(batch, [small.name(0)]))
    np.testing.assert_array_equal(found[0, :height, :width, 0], 255 - small[0][1])
    assert (found[0, height:] == 0).all()


@pytest.mark.parametrize("size", [0, 16])
def test_maps_that_equal_the_masks_have_no_error_and_others_have(small: Examples, maps: Path, size: int):
    methods: dict[str, Method] = {
        "masks": maps_method(files_of(maps, small)),
        "zero": baseline_method(all_blurred),
        "one": baseline_method(all_in_focus),
    }
    counts = count_levels(methods, small, size=size, batch_size=3 if size else 1)
    in_focus = [
        (resize_image(mask, (size, size)) if size else mask).mean() / 255
        for mask in (small[index][1] for index in range(8))
    ]
    assert metrics.mae(counts["masks"]) == 0
    assert metrics.adaptive(counts["masks"]) > (0.95 if size else 0.9999)  # resized edges are grey
    assert metrics.mae(counts["zero"]) == pytest.approx(np.mean(in_focus), rel=1e-9)
    assert metrics.mae(counts["one"]) == pytest.approx(1 - np.mean(in_focus), rel=1e-9)
    pixels = [(size or mask.shape[0]) * (size or mask.shape[1]) for mask in (small[index][1] for index in range(8))]
    for of_method in counts.values():
        assert of_method.names == tuple(names_of(small))
        assert of_method.pixels().tolist() == pixels


def test_scores_do_not_depend_on_the_size_of_batches_or_the_threads(small: Examples):
    def brightness(batch: Batch, _: Any) -> jax.Array:
        return jnp.asarray(batch.image[..., :1])

    counts = [
        count_levels({"brightness": brightness}, small, size=16, batch_size=batch_size, threads=threads)["brightness"]
        for batch_size, threads in ((1, 1), (3, 4), (8, 2))
    ]
    assert metrics.scores(counts[1]) == metrics.scores(counts[0])
    assert metrics.scores(counts[2]) == metrics.scores(counts[0])
    assert counts[1].names == counts[0].names


def test_a_map_that_is_not_a_number_is_refused_with_the_name_of_its_image(small: Examples):
    def broken(batch: Batch, names: Any) -> jax.Array:
        return jnp.full(batch.mask.shape, jnp.nan if "train5" in names else 0.5)

    with pytest.raises(ValueError, match=r"NaN or others in those of train5$"):
        count_levels({"broken": broken}, small, size=16)


@pytest.mark.parametrize(("size", "batch_size"), [(0, 1), (16, 2)])
def test_pictures_are_image_mask_and_maps_of_the_examples_that_are_asked_for(
    small: Examples, maps: Path, size: int, batch_size: int
):
    methods = [baseline_method(all_in_focus), maps_method(files_of(maps, small))]
    rows = pictures(methods, small, [6, 0, 3], size=size, batch_size=batch_size)
    for row, index in zip(rows, (6, 0, 3), strict=True):
        image, mask = (resize_image(array, (size, size)) if size else array for array in small[index])
        for picture, expected in zip(row, (image, mask, np.full(mask.shape, 255), mask), strict=True):
            np.testing.assert_array_equal(picture, expected)
