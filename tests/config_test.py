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
from btbnet_jax.fields import Config

pytestmark = pytest.mark.usefixtures("as_in_production")


def test_scales_of_the_paper_are_exact_fractions():
    expected = (Fraction(1), Fraction("0.8"), Fraction("0.6"), Fraction("0.4"))
    assert [paper_scales(n) for n in (1, 2, 3, 4)] == [expected[:1], expected[:2], expected[:3], expected]


@pytest.mark.parametrize("num_streams", [0, 5])
def test_paper_has_no_other_number_of_streams(num_streams: int):
    with pytest.raises(ValueError, match=f"networks of 1 to 4 streams, not {num_streams}"):
        paper_scales(num_streams)


def test_defaults_are_the_papers_network_and_loss():
    network, loss = NetworkConfig(), LossConfig()
    assert network.scales == (1, Fraction(4, 5), Fraction(3, 5))
    assert (network.num_steps, network.use_fnet, network.use_rrnet, network.width) == (3, True, True, 1.0)
    assert (loss.kind, loss.stream_weights, loss.fnet_weight, loss.step_weight) == ("cross_entropy", (1.0,), 0.0, 0.0)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (Normalisation, {"mean": (0.5, 0.5)}, "mean and std have 3 values"),
        (Normalisation, {"std": (1.0, 0.0, 1.0)}, "scale and std are positive"),
        (Normalisation, {"scale": 0.0}, "scale and std are positive"),
        (Normalisation, {"order": "grb"}, "order is one of 'rgb', 'bgr', not 'grb'"),
        (NetworkConfig, {"scales": ()}, "scales are one or more fractions above 0 and up to 4"),
        (NetworkConfig, {"scales": (Fraction(1), Fraction(0))}, "scales are one or more fractions above 0"),
        (NetworkConfig, {"scales": (Fraction(9, 2),)}, "scales are one or more fractions above 0 and up to 4"),
        (NetworkConfig, {"num_steps": -1}, "the number of recurrent steps is 0 or more, not -1"),
        (NetworkConfig, {"width": 0.0}, "the width multiplier is above 0 and up to 4, not 0.0"),
        (NetworkConfig, {"remat_policy": "half"}, "remat_policy='half' says what remat computes again: set remat as"),
        (NetworkConfig, {"width": float("nan")}, "width is finite, not nan"),
        (OptimiserConfig, {"learning_rate": float("inf")}, "learning_rate is finite, not inf"),
        (LossConfig, {"stream_weights": (1.0, float("nan"))}, "stream_weights is finite, not (1.0, nan)"),
        (NetworkConfig, {"dtype": "float16"}, "dtype is one of 'float32', 'bfloat16', not 'float16'"),
        (LossConfig, {"stream_weights": (1.0, -1.0)}, "weights of a loss are 0 or more"),
        (LossConfig, {"fnet_weight": -0.5}, "weights of a loss are 0 or more"),
        (LossConfig, {"step_weight": -0.5}, "weights of a loss are 0 or more"),
        (DataConfig, {"validation": "some"}, 'validation is "shi60", "none" or a number, not \'some\''),
        (DataConfig, {"validation": "²"}, 'validation is "shi60", "none" or a number, not \'²\''),
        (DataConfig, {"crop": -1}, "size, crop and grain are 0 or more, not 320, -1 and 0.0"),
        (DataConfig, {"size": 0, "batch_size": 2}, "set size or crop, or batch_size 1"),
        (DataConfig, {"size": 64, "crop": 65}, "a crop of 65 does not fit into images of 64"),
        (DataConfig, {"threads": 0}, "batch_size and threads are 1 or more"),
        (OptimiserConfig, {"kind": "sdg"}, "kind is one of 'adamw', 'sgd', 'muon', not 'sdg'"),
        (OptimiserConfig, {"learning_rate": 0.0}, "learning_rate is above 0 and trunk_factor 0 or more, not"),
        (OptimiserConfig, {"trunk_factor": -0.1}, "learning_rate is above 0 and trunk_factor 0 or more, not"),
        (OptimiserConfig, {"momentum": 1.0}, "momentum and ema are 0 or more and below 1, not"),
        (OptimiserConfig, {"ema": 1.0}, "momentum and ema are 0 or more and below 1, not"),
        (OptimiserConfig, {"warmup_steps": -1}, "weight_decay, clip_norm and warmup_steps are 0 or more"),
        (TrainConfig, {"steps": 0}, "a run has 1 step or more, not 0"),
        (TrainConfig, {"accumulate": 2}, "a batch of 1 cannot be divided into 2 equal parts"),
        (TrainConfig, {"accumulate": 0}, "a batch of 1 cannot be divided into 0 equal parts"),
        (TrainConfig, {"loss": LossConfig(stream_weights=(1.0, 1.0))}, "2 stream weights for 3 streams"),
        (TrainConfig, {"loss": LossConfig(stream_weights=())}, "0 stream weights for 3 streams"),
        (
            TrainConfig,
            {"network": NetworkConfig(use_rrnet=False), "loss": LossConfig(step_weight=1.0)},
            "without RRNet there are no steps",
        ),
        (LossConfig, {"overlap_weight": -1.0}, "weights of a loss are 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(cls: type[Config], values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        cls(**values)


@pytest.mark.parametrize("validation", ["shi60", "none", "0", "25"])
def test_every_kind_of_validation_is_let_through(validation: str):
    assert DataConfig(validation=validation).validation == validation


@pytest.mark.parametrize(("width", "expected"), [(1.0, [1, 64, 512]), (0.125, [1, 8, 64]), (1 / 256, [1, 1, 2])])
def test_width_multiplies_channels_and_leaves_at_least_one(width: float, expected: list[int]):
    assert [NetworkConfig(width=width).channels(paper) for paper in (1, 64, 512)] == expected
