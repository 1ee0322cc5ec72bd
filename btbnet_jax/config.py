"""The settings of a network and of its training, as frozen dataclasses."""

import dataclasses
from fractions import Fraction
from typing import Literal

from btbnet_jax.fields import Config

Scales = tuple[Fraction, ...]


def paper_scales(num_streams: int) -> Scales:
    """The scales of the paper's 1S to 4S networks: 1, 0.8, 0.6, 0.4.

    Source: section 4.3, "multi-stream" ablation.
    """
    if not 1 <= num_streams <= 4:
        raise ValueError(f"the paper has networks of 1 to 4 streams, not {num_streams}")
    return tuple(Fraction(5 - n, 5) for n in range(num_streams))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalisation(Config):
    """What a trunk wants to see: ``(image * scale)[order] - mean) / std``, image RGB in 0..1.

    Attributes:
      order: order of the colour channels that the mean and the first convolution expect.
      scale: 1 for weights trained on 0..1, 255 for weights trained on 0..255.
      mean: per channel, in ``order`` and after scaling.
      std: per channel, likewise.
    """

    order: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(f"mean and std have 3 values, not {self.mean} and {self.std}")
        if self.scale <= 0 or min(self.std) <= 0:
            raise ValueError(f"scale and std are positive, not {self.scale} and {self.std}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """The network; the defaults are the paper's.

    Attributes:
      scales: size of each stream's input relative to the image, exact fractions.
      share_streams: one set of parameters for all streams.  Assumption: separate ones; the paper's "one
        replicate for one scale" can be read both ways.
      use_fnet: fuse by FNet.  Assumption: without it, the mean of the streams' maps takes its place.
      use_rrnet: refine by RRNet.  Without it, the fused map is the final one.
      num_steps: how often RRNet is applied; no parameter depends on it.
      width: multiplies every number of channels but the 1 of a map; 1 is the paper's network.
      dtype: what convolutions compute in; parameters, logits and maps stay float32.
      precision: of float32 convolutions; "default" lets a GPU use TF32.
      remat: recompute activations in the backward pass: less memory, more time.
      remat_policy: which of them: "all" but those between streams, FNet and the steps of RRNet, or "half", where the
        trunks keep those of every layer but the first of each block.
      normalisation: of the streams' input; it belongs to the trunk's weights.
    """

    scales: Scales = paper_scales(3)
    share_streams: bool = False
    use_fnet: bool = True
    use_rrnet: bool = True
    num_steps: int = 3
    width: float = 1.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    precision: Literal["default", "highest"] = "default"
    remat: bool = False
    remat_policy: Literal["all", "half"] = "all"
    normalisation: Normalisation = Normalisation()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales or any(not 0 < scale <= 4 for scale in self.scales):
            raise ValueError(f"scales are one or more fractions above 0 and up to 4, not {self.scales}")
        if self.num_steps < 0:
            raise ValueError(f"the number of recurrent steps is 0 or more, not {self.num_steps}")
        if not 0 < self.width <= 4:
            raise ValueError(f"the width multiplier is above 0 and up to 4, not {self.width}")
        if self.remat_policy != "all" and not self.remat:
            raise ValueError(f"remat_policy={self.remat_policy!r} says what remat computes again: set remat as well")

    def channels(self, paper: int) -> int:
        """The number of channels where the paper has `paper`: rounded, and at least 1."""
        return max(1, round(paper * self.width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """The joint loss ``l(M_final, G) + Σ_n α_n l(M_n, G)``; the defaults are the paper's.

    Attributes:
      kind: l.  Assumption: cross entropy; the authors' later work uses the mean squared error.
      stream_weights: α_n, one for all streams or one for each.
      fnet_weight: of FNet's map where RRNet follows; it is the final map otherwise.  Assumption: 0, no
        supervision of its own.
      step_weight: of each RRNet step before the last.  Assumption: 0.
      overlap_weight: of the soft intersection over union of the final map.  Deviation: the paper has none, so 0.
    """

    kind: Literal["cross_entropy", "mean_squared_error"] = "cross_entropy"
    stream_weights: tuple[float, ...] = (1.0,)
    fnet_weight: float = 0.0
    step_weight: float = 0.0
    overlap_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (*self.stream_weights, self.fnet_weight, self.step_weight, self.overlap_weight)
        if min(weights) < 0:
            raise ValueError(f"weights of a loss are 0 or more, not {', '.join(map(str, weights))}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """What a training batch is made of.

    Attributes:
      name: of the data set, as built under `data_dir`: "shi", "simulated/generated", "pairs/mine".
      split: TFDS split to train on.
      validation: "shi60" holds the committed 60 names out of the split; a number holds out that many
        images, the smallest by the sha256 of their names; "none" trains on all.
      size: height and width that images are resized to; 0 keeps their own.
      crop: side of a random square crop, 0 for none.  It is cut after resizing, about a random pixel.
      orientations: "none", "right_angles" (8 versions), or "paper" (16: 8 rotations by 45° and flips).
      grain: its largest deviation in grey levels, drawn anew for each image.  Deviation: the paper adds none, so 0.
      batch_size: images of one step, over all devices and processes.
      seed: of the order and of every random choice.
      threads: that read and decode; the batches do not depend on it.
    """

    name: str = "shi"
    split: str = "train"
    validation: str = "shi60"
    size: int = 320
    crop: int = 0
    orientations: Literal["none", "right_angles", "paper"] = "paper"
    grain: float = 0.0
    batch_size: int = 1
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation not in ("shi60", "none") and not self.validation.isdecimal():
            raise ValueError(f'validation is "shi60", "none" or a number, not {self.validation!r}')
        if min(self.size, self.crop, self.grain) < 0:
            raise ValueError(f"size, crop and grain are 0 or more, not {self.size}, {self.crop} and {self.grain}")
        if not self.size and not self.crop and self.batch_size > 1:
            raise ValueError("images of their own sizes cannot share a batch: set size or crop, or batch_size 1")
        if 0 < self.size < self.crop:
            raise ValueError(f"a crop of {self.crop} does not fit into images of {self.size}")
        if self.batch_size < 1 or self.threads < 1:
            raise ValueError(f"batch_size and threads are 1 or more, not {self.batch_size} and {self.threads}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig(Config):
    """How parameters are updated.  Assumption: all of it; the paper states no optimiser.

    Attributes:
      kind: "adamw", "sgd" with momentum and L2 weight decay, or "muon", which makes the updates of a kernel
        orthogonal, for training from scratch.
      learning_rate: at its peak.
      trunk_factor: times the learning rate for the VGG16 trunks, below 1 where they are pretrained.
      schedule: of the rate after the warm-up: "constant", "cosine" to 0, or "poly" with power 0.9 to 0.
      warmup_steps: of a linear rise from 0.
      momentum: of SGD and Muon.
      weight_decay: of convolution kernels, with Muon but for those to a map; biases are left alone.
      clip_norm: largest norm of a whole gradient, 0 for no limit.
      ema: decay of a moving average of the parameters that is evaluated and kept, 0 for none.
      keep_norms: whether updates turn the weights of each channel and leave their norm as it was, but for those of
        maps.  Without it they grow with every update of Muon, and through seventeen layers what they make of an image
        grows with them, until ReLUs die.
    """

    kind: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: float = 1e-4
    trunk_factor: float = 1.0
    schedule: Literal["constant", "cosine", "poly"] = "cosine"
    warmup_steps: int = 0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_norm: float = 0.0
    ema: float = 0.0
    keep_norms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learning_rate <= 0 or self.trunk_factor < 0:
            raise ValueError(
                f"learning_rate is above 0 and trunk_factor 0 or more, not {self.learning_rate} and {self.trunk_factor}"
            )
        if not 0 <= self.momentum < 1 or not 0 <= self.ema < 1:
            raise ValueError(f"momentum and ema are 0 or more and below 1, not {self.momentum} and {self.ema}")
        if min(self.weight_decay, self.clip_norm, self.warmup_steps) < 0:
            raise ValueError(
                "weight_decay, clip_norm and warmup_steps are 0 or more, not "
                f"{self.weight_decay}, {self.clip_norm} and {self.warmup_steps}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """One training run: all that a result depends on, beside the data themselves.

    Attributes:
      steps: updates of the parameters in all.
      accumulate: how many parts of each batch are computed one after the other, in the memory of one; their gradients
        add up to the batch's.
      seed: of the initial parameters.
      init_from: run folder, checkpoint, weights file or VGG16 file whose parameters it starts from; empty for none.
    """

    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    steps: int = 1000
    accumulate: int = 1
    seed: int = 0
    init_from: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ValueError(f"a run has 1 step or more, not {self.steps}")
        if self.accumulate < 1 or self.data.batch_size % self.accumulate:
            raise ValueError(f"a batch of {self.data.batch_size} cannot be divided into {self.accumulate} equal parts")
        weights, streams = len(self.loss.stream_weights), len(self.network.scales)
        if weights not in (1, streams):
            raise ValueError(f"{weights} stream weights for {streams} streams; give one, or one for each")
        if not self.network.use_rrnet and (self.loss.fnet_weight or self.loss.step_weight):
            raise ValueError("without RRNet there are no steps, and FNet's map is the final one: no weights for them")
