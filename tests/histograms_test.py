from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btbnet_jax import images
from btbnet_jax.histograms import LevelCounts, joint_histogram, merge, quantise

RNG = np.random.default_rng(0)


def random_levels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def valid_everywhere(maps: np.ndarray | jax.Array) -> jax.Array:
    return jnp.ones(maps.shape, bool)


def rows(counts: LevelCounts) -> set[tuple[str, int, int, int]]:
    """Order of the images aside, all there is to know."""
    names = [counts.names[i] for i in counts.image]
    return set(zip(names, counts.map_level.tolist(), counts.mask_level.tolist(), counts.count.tolist(), strict=True))


def random_counts(name: str) -> LevelCounts:
    return LevelCounts.from_maps(name, random_levels(8, 9) // 64, random_levels(8, 9) // 64)


def test_every_pair_of_levels_is_counted():
    maps, masks = random_levels(2, 8, 9, 1) // 60, random_levels(2, 8, 9, 1) // 60
    joint = joint_histogram(jnp.asarray(maps), jnp.asarray(masks), valid_everywhere(maps))
    for table, focus_map, mask in zip(np.asarray(joint), maps, masks, strict=True):
        pairs = Counter(zip(focus_map.ravel().tolist(), mask.ravel().tolist(), strict=True))
        assert {pair: table[pair] for pair in np.ndindex(256, 256) if table[pair]} == pairs


def test_counts_made_on_the_host_are_the_device_s():
    focus_map, mask = random_levels(8, 9), random_levels(8, 9)
    maps, masks = jnp.asarray(focus_map)[None, ..., None], jnp.asarray(mask)[None, ..., None]
    on_device = LevelCounts.from_joint(joint_histogram(maps, masks, valid_everywhere(maps)), ["a"])
    assert rows(LevelCounts.from_maps("a", focus_map, mask)) == rows(on_device)


def test_padding_changes_nothing():
    maps, masks = random_levels(2, 8, 9, 1), random_levels(2, 8, 9, 1)
    border = ((0, 0), (0, 5), (0, 3), (0, 0))
    valid = np.pad(np.ones(maps.shape, bool), border)
    padded = joint_histogram(
        jnp.asarray(np.pad(maps, border, constant_values=7)), jnp.asarray(np.pad(masks, border)), jnp.asarray(valid)
    )
    unpadded = joint_histogram(jnp.asarray(maps), jnp.asarray(masks), valid_everywhere(maps))
    np.testing.assert_array_equal(padded, unpadded)


def test_filler_is_left_out():
    maps = jnp.asarray(random_levels(3, 4, 4, 1))
    joint = joint_histogram(maps, maps, jnp.arange(3).reshape(3, 1, 1, 1) + jnp.zeros(maps.shape) != 1)
    assert LevelCounts.from_joint(joint, ["a", "", "b"]).names == ("a", "b")


def test_device_and_host_quantise_alike():
    ties = ((np.arange(1, 256) - 0.5) / 255).astype(np.float32)
    near_ties = np.concatenate([ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1))])
    values = np.concatenate([near_ties, RNG.random(10_000, np.float32), np.array([0, 1], np.float32)])
    on_device = quantise(jnp.asarray(values).reshape(1, 1, -1, 1)).ravel()
    np.testing.assert_array_equal(on_device, images.quantise(values))
    exact = np.floor(255 * values.astype(np.float64) + 0.5)
    assert np.abs(on_device - exact)[len(near_ties) :].max() == 0


def test_quantising_twice_is_quantising_once():
    maps = quantise(jnp.asarray(RNG.random((1, 8, 9, 1), np.float32)))
    np.testing.assert_array_equal(quantise(maps), maps)


def test_float_maps_count_like_their_8_bits():
    levels, masks = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), random_levels(1, 16, 16, 1)
    floats = jnp.asarray(levels, jnp.float32) / 255
    valid = valid_everywhere(levels)
    np.testing.assert_array_equal(
        joint_histogram(floats, jnp.asarray(masks), valid),
        joint_histogram(jnp.asarray(levels), jnp.asarray(masks, jnp.float32) / 255, valid),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
def test_an_illegal_value_is_refused_by_the_name_of_its_image(value: float):
    maps = jnp.zeros((2, 4, 4, 1)).at[1, 2, 3].set(value)
    joint = joint_histogram(maps, jnp.zeros_like(maps), jnp.ones(maps.shape, bool))
    with pytest.raises(ValueError, match=r"NaN.* second$"):
        LevelCounts.from_joint(joint, ["first", "second"])


def test_an_illegal_value_in_the_padding_does_not_matter():
    maps = jnp.zeros((1, 4, 4, 1)).at[0, :, 3].set(np.nan)
    joint = joint_histogram(maps, jnp.zeros_like(maps), ~jnp.isnan(maps))
    assert rows(LevelCounts.from_joint(joint, ["a"])) == {("a", 0, 0, 12)}


def test_an_image_with_more_pixels_than_32_bits_count_is_refused():
    array = jax.ShapeDtypeStruct((1, 2**16, 2**15, 1), jnp.uint8)
    valid = jax.ShapeDtypeStruct(array.shape, jnp.bool_)
    with pytest.raises(ValueError, match="65536 x 32768"):
        jax.eval_shape(joint_histogram, array, array, valid)


def test_merging_is_associative_and_commutative():
    a, b, c = random_counts("a"), random_counts("b"), random_counts("c")
    left, right = merge([merge([a, b]), c]), merge([a, merge([b, c])])
    assert left.names == right.names == ("a", "b", "c")
    assert rows(left) == rows(right) == rows(merge([c, a, b]))


def test_splitting_undoes_merging():
    parts = [random_counts("a"), random_counts("b"), random_counts("c")]
    for part, again in zip(parts, merge(parts).split(), strict=True):
        assert rows(part) == rows(again)


def test_nothing_merged_is_neutral():
    a = random_counts("a")
    assert rows(merge([merge([]), a])) == rows(a)
    assert merge([]).split() == []


def test_sums_over_more_pixels_than_32_bits_count_are_exact():
    table = np.zeros((1, 256, 256), np.int32)
    table[0, 255, 255], table[0, 200, 0] = 2**30 + 1, 2**30 - 3
    counts = merge(LevelCounts.from_joint(table, [name]) for name in "abcde")
    assert counts.pixels().sum() == 5 * (2**31 - 2)
    assert counts.pixels(counts.map_level).tolist() == [255 * (2**30 + 1) + 200 * (2**30 - 3)] * 5
    assert counts.pixels_from_level()[0, [0, 200, 201, 255]].tolist() == [2**31 - 2] * 2 + [2**30 + 1] * 2


def test_an_image_counted_twice_is_refused():
    with pytest.raises(ValueError, match=r"1 images .* \['a'\]"):
        merge([random_counts("a"), random_counts("b"), random_counts("a")])


def test_as_many_names_as_images_are_wanted():
    with pytest.raises(ValueError, match="2 images need as many names, not 1"):
        LevelCounts.from_joint(np.ones((2, 256, 256), np.int32), ["a"])


def test_a_map_of_another_size_is_refused_by_name():
    with pytest.raises(ValueError, match="bird"):
        LevelCounts.from_maps("bird", random_levels(8, 9), random_levels(9, 8))


def test_maps_and_masks_that_are_no_levels_are_refused():
    levels = random_levels(8, 9)
    for focus_map, mask in ((levels / np.float32(255), levels), (levels, levels > 127)):
        with pytest.raises(ValueError, match="bird: map and mask have levels of 0 to 255 as uint8, not "):
            LevelCounts.from_maps("bird", focus_map, mask)


def test_polarity_swapped_twice_is_nothing():
    counts = random_counts("a")
    assert rows(counts.swap_polarity()) != rows(counts)
    assert rows(counts.swap_polarity().swap_polarity()) == rows(counts)
