import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from btbnet_jax.augment import orient
from btbnet_jax.builders import BuildError, SimulatedBuilder, build
from btbnet_jax.config import DataConfig
from btbnet_jax.data import Examples, hold_out, ordered_batches, train_batches
from btbnet_jax.images import resize_image, write_png
from btbnet_jax.sources import shi
from btbnet_jax.types import Batch
from tests.raw_sets import noise
from tests.small_sets import build_pairs, half_in_focus

# Crops of resized and turned images, in epochs of 8 × 16 examples.
PAPER = DataConfig(name="pairs/small", validation="none", size=20, crop=12, batch_size=4, seed=5)


@pytest.fixture(scope="module")
def small(small_data: Path) -> Examples:
    return Examples(small_data, "pairs/small", "train")


@pytest.fixture(scope="module")
def white_is_focus(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Images that are their own masks."""
    folder = tmp_path_factory.mktemp("data")
    masks = [half_in_focus(number)[1] for number in range(2)]
    build_pairs(
        folder, "masks", {str(number): (np.repeat(mask[..., None], 3, 2), mask) for number, mask in enumerate(masks)}
    )
    return Examples(folder, "pairs/masks", "train")


@pytest.fixture(scope="module")
def simulated_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated set of three photographs, with its blurred versions stored and without."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "raw").mkdir()
    for number in range(3):
        write_png(folder / "raw" / f"{number}.png", noise((9, 12)))
    for config in ("photographs", "photographs_on_the_fly"):
        build(SimulatedBuilder(data_dir=folder, config=config), manual_dir=folder / "raw")
    return folder


def take(batches: Iterator[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(batches, count))


def assert_equal(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        for array, other_array in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, other_array)


def changed(config: DataConfig, **values) -> DataConfig:
    return DataConfig.from_json(config.to_json() | values)


def test_batches_do_not_depend_on_the_number_of_threads(small: Examples):
    expected = take(train_batches(small, PAPER), 6)
    assert_equal(take(train_batches(small, changed(PAPER, threads=5)), 6), expected)


def test_batches_depend_on_the_seed(small: Examples):
    one, other = (take(train_batches(small, changed(PAPER, seed=seed)), 4) for seed in (0, 1))
    assert [batch.example.tolist() for batch in one] != [batch.example.tolist() for batch in other]


def test_batches_from_a_start_are_those_that_an_uninterrupted_run_has_there(small: Examples):
    uninterrupted = take(train_batches(small, PAPER), 36)  # 32 make an epoch
    for start in (3, 30, 34):
        assert_equal(take(train_batches(small, PAPER, start=start), 2), uninterrupted[start : start + 2])


def test_the_shares_of_the_processes_make_up_the_batch(small: Examples):
    config = changed(PAPER, crop=0)
    shares = [take(train_batches(small, config, shard=(process, 2)), 5) for process in range(2)]
    for whole, *parts in zip(take(train_batches(small, config), 5), *shares, strict=True):
        for process, part in enumerate(parts):
            assert_equal([part], [Batch(*(array[process::2] for array in whole))])


def test_processes_that_cannot_share_a_batch_are_refused(small: Examples):
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 4"):
        train_batches(small, PAPER, shard=(0, 3))


@pytest.mark.parametrize(("orientations", "versions"), [("none", 1), ("right_angles", 8), ("paper", 16)])
def test_every_epoch_shows_each_orientation_of_each_image_once(small: Examples, orientations: str, versions: int):
    config = changed(PAPER, orientations=orientations, crop=0, batch_size=1)
    shown = [
        [(int(batch.example[0]), _true_image(batch).tobytes()) for batch in epoch]
        for epoch in _epochs(train_batches(small, config), 8 * versions)
    ]
    expected = {
        (index, orient(resize_image(small[index][0], (20, 20)), version, of=versions).tobytes())
        for index in range(8)
        for version in range(versions)
    }
    assert len(expected) == 8 * versions
    for epoch in shown:
        assert set(epoch) == expected
    assert shown[0] != shown[1]


def _epochs(batches: Iterator[Batch], length: int) -> tuple[list[Batch], list[Batch]]:
    return take(batches, length), take(batches, length)


def _true_image(batch: Batch) -> np.ndarray:
    height, width = batch.size[0]
    return batch.image[0, :height, :width]


@pytest.mark.parametrize("orientations", ["none", "right_angles", "paper"])
def test_image_and_mask_are_turned_mirrored_and_cut_together(white_is_focus: Examples, orientations: str):
    config = changed(PAPER, orientations=orientations)
    for batch in take(train_batches(white_is_focus, config), 8):
        difference = np.abs(batch.image.astype(int) - batch.mask)
        if orientations == "paper":  # an image is turned by bicubic interpolation and a mask by bilinear
            assert difference.mean() < 8
        else:
            assert difference.max() == 0
        assert 40 < batch.mask.mean() < 215


def test_crops_are_cut_anywhere(small: Examples):
    config = changed(PAPER, orientations="none", batch_size=1)
    found = set()
    for batch in take(train_batches(small, config), 64):
        image = resize_image(small[int(batch.example[0])][0], (20, 20))
        windows = np.lib.stride_tricks.sliding_window_view(image, (12, 12, 3))[:, :, 0]
        ((top, left),) = np.argwhere((windows == batch.image[0]).all(axis=(2, 3, 4)))
        found.update({("top", int(top)), ("left", int(left))})
    assert {place for _, place in found} == set(range(9))


def test_grain_lies_on_images_and_nowhere_else(small: Examples):
    config = changed(PAPER, size=0, crop=26, orientations="none", batch_size=8)
    smooth, grainy = (take(train_batches(small, changed(config, grain=grain)), 1)[0] for grain in (0.0, 40.0))
    for array, expected in zip(grainy[1:], smooth[1:], strict=True):  # masks, sizes and numbers
        np.testing.assert_array_equal(array, expected)
    for image, other, (height, width) in zip(grainy.image, smooth.image, grainy.size, strict=True):
        assert np.any(image != other)
        assert not image[height:].any()
        assert not image[:, width:].any()
    assert_equal(take(train_batches(small, changed(config, grain=40.0, threads=5)), 1), [grainy])


def test_images_that_are_smaller_than_their_array_are_padded_and_say_how_large_they_are(small: Examples):
    config = changed(PAPER, crop=0, batch_size=8)
    batches = take(train_batches(small, config), 16)
    sizes = {tuple(size) for batch in batches for size in batch.size.tolist()}
    assert sizes == {(20, 20), (12, 12)}  # upright, and 20 / √2 less two pixels
    for batch in batches:
        assert (batch.image.shape, batch.mask.shape) == ((8, 20, 20, 3), (8, 20, 20, 1))
        for image, mask, (height, width) in zip(batch.image, batch.mask, batch.size, strict=True):
            assert image[:height, :width].any(axis=2).all()
            assert not image[height:].any()
            assert not image[:, width:].any()
            assert not mask[height:].any()
            assert not mask[:, width:].any()


def test_crops_of_smaller_images_are_padded(small: Examples):
    config = changed(PAPER, size=0, crop=26, orientations="none", batch_size=8)
    (batch,) = take(train_batches(small, config), 1)
    assert batch.image.shape == (8, 26, 26, 3)
    sizes = dict(zip(batch.example.tolist(), batch.size.tolist(), strict=True))
    assert {small.name(index): size for index, size in sizes.items()} == {
        **{f"train{number}": [24, 24] for number in (0, 1, 2, 4, 5, 7)},
        "train3": [26, 24],
        "train6": [20, 26],
    }


def test_images_of_their_own_sizes_are_padded_to_multiples_of_64(small: Examples):
    expected = {"train3": ((1, 128, 64, 3), (70, 24)), "train6": ((1, 64, 64, 3), (20, 30))}
    config = changed(PAPER, size=0, crop=0, orientations="none", batch_size=1)
    for batches in (list(ordered_batches(small, size=0)), take(train_batches(small, config), 8)):
        shapes = {
            small.name(int(batch.example[0])): (batch.image.shape, tuple(batch.size[0].tolist())) for batch in batches
        }
        assert len(shapes) == 8
        assert {name: shapes.pop(name) for name in expected} == expected
        assert set(shapes.values()) == {((1, 64, 64, 3), (24, 24))}


def test_ordered_batches_hold_each_example_once_and_fill_the_last(small: Examples):
    batches = list(ordered_batches(small, size=16, batch_size=3, threads=4))
    assert [batch.example.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7, -1]]
    assert {batch.image.shape for batch in batches} == {(3, 16, 16, 3)}
    for index in range(8):
        image, mask = (resize_image(array, (16, 16)) for array in small[index])
        np.testing.assert_array_equal(batches[index // 3].image[index % 3], image)
        np.testing.assert_array_equal(batches[index // 3].mask[index % 3, ..., 0], mask)
    assert batches[-1].size.tolist() == [[16, 16], [16, 16], [0, 0]]
    assert not batches[-1].image[-1].any()
    assert not batches[-1].mask[-1].any()


def test_processes_share_ordered_batches_too(small: Examples):
    shares = [list(ordered_batches(small, size=16, batch_size=6, shard=(process, 2))) for process in range(2)]
    assert [[batch.example.tolist() for batch in share] for share in shares] == [
        [[0, 2, 4], [6, -1, -1]],
        [[1, 3, 5], [7, -1, -1]],
    ]


def test_images_of_their_own_sizes_cannot_share_a_batch(small: Examples):
    with pytest.raises(ValueError, match="give a size, or batch_size 1"):
        ordered_batches(small, size=0, batch_size=2)


def test_examples_by_index_have_their_images_masks_and_names(small: Examples):
    for index in range(len(small)):
        number = int(small.name(index).removeprefix("train"))
        image, mask = half_in_focus(number, {3: (70, 24), 6: (20, 30)}.get(number, (24, 24)))
        np.testing.assert_array_equal(small[index][0], image)
        np.testing.assert_array_equal(small[index][1], mask)
    some = small.only([5, 2]).only([1])
    assert [some.name(index) for index in range(len(some))] == [small.name(2)]
    np.testing.assert_array_equal(some[0][0], small[2][0])


def test_blurring_on_the_fly_gives_the_same_bits_as_the_stored_versions(simulated_data: Path):
    stored = Examples(simulated_data, "simulated/photographs", "train")
    blurred = Examples(simulated_data, "simulated/photographs_on_the_fly", "train")
    places = {stored.name(index): index for index in range(len(stored))}
    assert sorted(places) == sorted(blurred.name(index) for index in range(len(blurred)))
    assert len(places) == 60
    for index in range(60):
        for array, other in zip(blurred[index], stored[places[blurred.name(index)]], strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("name", ["photographs", "photographs_on_the_fly"])
def test_all_versions_of_a_source_are_held_out_together(simulated_data: Path, name: str):
    examples = Examples(simulated_data, f"simulated/{name}", "train")
    for number, expected in (("1", (40, 20)), ("20", (40, 20)), ("21", (20, 40))):
        kept, held = hold_out(examples, number)
        assert (len(kept), len(held)) == expected
        sources = [{part.name(index).split("_")[0] for index in range(len(part))} for part in (kept, held)]
        assert sources[0] | sources[1] == {"0", "1", "2"}
        assert sources[0] & sources[1] == set()
        # by sha256sum: 0 -> 5f…, 1 -> 6b…, 2 -> d4…
        assert sources[1] == ({"0"} if len(held) == 20 else {"0", "1"})


def test_a_number_holds_out_as_many_of_the_same_images_always(small: Examples):
    kept, held = hold_out(small, "3")
    names = [[part.name(index) for index in range(len(part))] for part in (kept, held)]
    assert sorted(names[0] + names[1]) == [f"train{number}" for number in range(8)]
    assert len(names[1]) == 3
    backwards = hold_out(small.only(range(7, -1, -1)), "3")[1]
    assert [backwards.name(index) for index in range(3)] == names[1][::-1]


@pytest.mark.parametrize("number", ["none", "0"])
def test_nothing_is_held_out_where_none_is_wanted(small: Examples, number: str):
    kept, held = hold_out(small, number)
    assert (len(kept), len(held)) == (8, 0)


def test_the_committed_list_holds_out_its_60_names(tmp_path: Path):
    pair = half_in_focus(0, (8, 8))
    names = [*shi.VALIDATION, "out_of_focus0000", "out_of_focus9999"]
    build_pairs(tmp_path, "shi", dict.fromkeys(names, pair))
    kept, held = hold_out(Examples(tmp_path, "pairs/shi", "train"), "shi60")
    assert sorted(held.name(index) for index in range(len(held))) == sorted(shi.VALIDATION)
    assert sorted(kept.name(index) for index in range(len(kept))) == names[60:]


def test_the_committed_list_is_refused_for_other_sets(small: Examples):
    with pytest.raises(ValueError, match=r"names 60 images of Shi's set and 0 are here; give a number"):
        hold_out(small, "shi60")


def test_holding_out_all_is_refused(small: Examples):
    with pytest.raises(ValueError, match="holding out 8 of 8 images leaves none to train on"):
        hold_out(small, "8")


def test_a_set_or_split_that_is_not_there_is_named(small_data: Path):
    with pytest.raises(BuildError, match="no data set 'pairs/large' is built"):
        Examples(small_data, "pairs/large", "train")
    with pytest.raises(BuildError, match="no split 'validation'"):
        Examples(small_data, "pairs/small", "validation")
    for split in ("all", "train[:1]+all", "train+dev"):  # "all" would be the test images under another name
        with pytest.raises(BuildError, match=r"has no split '(all|dev)'; it has test, train"):
            Examples(small_data, "pairs/small", split)


def test_a_part_of_a_split_without_examples_is_refused(small_data: Path):
    with pytest.raises(ValueError, match=r"train\[:0\]"):
        Examples(small_data, "pairs/small", "train[:0]")
