import json
import re
from fractions import Fraction
from typing import Any

import pytest

from btbnet_jax.config import (
    DataConfig,
    LossConfig,
    NetworkConfig,
    Normalisation,
    OptimiserConfig,
    TrainConfig,
    paper_scales,
)
from btbnet_jax.fields import Config, differences

OTHER = TrainConfig(
    network=NetworkConfig(
        scales=(Fraction(3, 2), Fraction(1, 3)),
        share_streams=True,
        width=0.125,
        dtype="bfloat16",
        normalisation=Normalisation(order="bgr", scale=255.0, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0)),
    ),
    loss=LossConfig(kind="mean_squared_error", stream_weights=(0.5, 0.25), step_weight=0.1),
    data=DataConfig(name="pairs/mine", validation="7", crop=64, orientations="right_angles", batch_size=4),
    optimiser=OptimiserConfig(kind="sgd", schedule="poly", clip_norm=1.0, ema=0.999),
    steps=12,
    init_from="runs/first",
)


pytestmark = pytest.mark.usefixtures("as_in_production")


@pytest.mark.parametrize("config", [TrainConfig(), OTHER], ids=["defaults", "other"])
def test_json_gives_back_what_was_written(config: TrainConfig):
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_scales_are_written_as_fractions_that_people_can_read():
    assert OTHER.to_json()["network"]["scales"] == ["3/2", "1/3"]


def test_fields_that_are_absent_keep_their_defaults():
    config = TrainConfig.from_json({"steps": 5, "network": {"width": 0.5}})
    assert config == TrainConfig(steps=5, network=NetworkConfig(width=0.5))


def test_whole_numbers_will_do_for_fields_of_any_number():
    width = NetworkConfig.from_json({"width": 1}).width
    assert (width, type(width)) == (1.0, float)


def test_unknown_fields_are_named_beside_the_known_ones():
    with pytest.raises(ValueError, match=r"LossConfig has no field \['weight'\]; it has \['fnet_weight', 'kind'"):
        TrainConfig.from_json({"loss": {"weight": 1}})


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (TrainConfig, {"steps": "many"}, "TrainConfig.steps is a whole number, not 'many'"),
        (TrainConfig, {"steps": 1.5}, "TrainConfig.steps is a whole number, not 1.5"),
        (TrainConfig, {"steps": True}, "TrainConfig.steps is a whole number, not True"),
        (TrainConfig, {"network": 3}, "TrainConfig.network is of type NetworkConfig, not 3"),
        (NetworkConfig, {"width": True}, "NetworkConfig.width is a number, not True"),
        (NetworkConfig, {"use_fnet": 1}, "NetworkConfig.use_fnet is true or false, not 1"),
        (NetworkConfig, {"scales": ["1/0"]}, "NetworkConfig.scales is a fraction such as 4/5, not '1/0'"),
        (NetworkConfig, {"scales": ["1e999999999"]}, "NetworkConfig.scales is a fraction such as 4/5"),
        (NetworkConfig, {"scales": ["half"]}, "NetworkConfig.scales is a fraction such as 4/5, not 'half'"),
        (NetworkConfig, {"scales": "1"}, "NetworkConfig.scales is of type tuple"),
        (Normalisation, {"mean": [0.5, 0.5]}, "Normalisation.mean is of type tuple"),
        (LossConfig, {"kind": ["cross_entropy"]}, "kind is one of 'cross_entropy', 'mean_squared_error', not ['cross"),
    ],
)
def test_values_of_another_type_are_named(cls: type[Config], values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        cls.from_json(values)


def test_differences_are_told_field_by_field():
    new = TrainConfig(
        steps=7, network=NetworkConfig(scales=paper_scales(1)), data=DataConfig(name="dut"), loss=LossConfig()
    )
    assert differences(TrainConfig(), new) == [
        "data.name: shi -> dut",
        "network.scales: ['1', '4/5', '3/5'] -> ['1']",
        "steps: 1000 -> 7",
    ]


def test_equal_settings_have_no_differences():
    assert differences(OTHER, TrainConfig.from_json(OTHER.to_json())) == []


def test_equal_settings_are_one_static_argument_of_a_compiled_function():
    assert hash(NetworkConfig.from_json(OTHER.network.to_json())) == hash(OTHER.network)
