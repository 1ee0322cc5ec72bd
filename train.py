"""Trains BTBNet: `python train.py --flagfile=configs/cpu_small.flags`, see README.md."""

import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from btbnet_jax.compiler import keep_compiled_programs
from btbnet_jax.config import DataConfig, LossConfig, NetworkConfig, OptimiserConfig, TrainConfig
from btbnet_jax.loop import Schedule, Stopped, train
from btbnet_jax.processes import together
from btbnet_jax.weights import cache_folder

_D, _L, _N, _O, _T, _S = DataConfig(), LossConfig(), NetworkConfig(), OptimiserConfig(), TrainConfig(), Schedule()

RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run; a run that it holds is continued.")
DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder that the data sets are built in.")
RESUME = flags.DEFINE_bool("resume", True, "Continue the run in the folder; --noresume refuses a folder with a run.")
DEVICES = flags.DEFINE_integer("devices", None, "How many devices to use; all of them by default.")
COORDINATOR = flags.DEFINE_string("coordinator", "", 'Of several processes: HOST:PORT of the first, or "auto".')
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.")
PROCESS = flags.DEFINE_integer("process", None, "Number of this process, from 0 on.")
STEPS = flags.DEFINE_integer("steps", _T.steps, "Updates of the parameters in all.")
ACCUMULATE = flags.DEFINE_integer("accumulate", _T.accumulate, "Parts of a batch, computed in the memory of one.")
SEED = flags.DEFINE_integer("seed", _T.seed, "Of the initial parameters.")
INIT_FROM = flags.DEFINE_string(
    "init_from", "", "Run folder, checkpoint, weights file, or VGG16 file (.pth, .safetensors, .h5)."
)

SCALES = flags.DEFINE_list("scales", [str(s) for s in _N.scales], "Scale of each stream: fractions such as 4/5.")
SHARE = flags.DEFINE_bool("share_streams", _N.share_streams, "One set of parameters for all streams.")
FNET = flags.DEFINE_bool("fnet", _N.use_fnet, "Fuse by FNet; without it by the mean.")
RRNET = flags.DEFINE_bool("rrnet", _N.use_rrnet, "Refine by RRNet.")
NUM_STEPS = flags.DEFINE_integer("recurrent_steps", _N.num_steps, "How often RRNet is applied.")
WIDTH = flags.DEFINE_float("width", _N.width, "Multiplies the channels of the paper's network.")
DTYPE = flags.DEFINE_enum("dtype", _N.dtype, ["float32", "bfloat16"], "What convolutions compute in.")
PRECISION = flags.DEFINE_enum("precision", _N.precision, ["default", "highest"], "Of float32 convolutions.")
REMAT = flags.DEFINE_bool("remat", _N.remat, "Recompute activations: less memory, more time.")
POLICY = flags.DEFINE_enum("remat_policy", _N.remat_policy, ["all", "half"], "Which activations --remat recomputes.")

LOSS = flags.DEFINE_enum("loss", _L.kind, ["cross_entropy", "mean_squared_error"], "Per pixel.")
ALPHAS = flags.DEFINE_list("stream_weights", ["1"], "α_n: one for all streams, or one for each.")
FNET_WEIGHT = flags.DEFINE_float("fnet_weight", _L.fnet_weight, "Of the loss of FNet's map.")
STEP_WEIGHT = flags.DEFINE_float("step_weight", _L.step_weight, "Of the loss of each recurrent step but the last.")
OVERLAP_WEIGHT = flags.DEFINE_float("overlap_weight", _L.overlap_weight, "Of the final map's soft IoU.")

DATA = flags.DEFINE_string("data", _D.name, "Data set: shi, dut, simulated/generated, pairs/NAME.")
SPLIT = flags.DEFINE_string("split", _D.split, "Split to train on.")
VALIDATION = flags.DEFINE_string("validation", _D.validation, 'Images to hold out: "shi60", a number, or "none".')
SIZE = flags.DEFINE_integer("size", _D.size, "Height and width that images are resized to; 0 keeps their own.")
CROP = flags.DEFINE_integer("crop", _D.crop, "Side of random crops, cut after resizing; 0 for none.")
ORIENTATIONS = flags.DEFINE_enum("orientations", _D.orientations, ["none", "right_angles", "paper"], "1, 8 or 16.")
GRAIN = flags.DEFINE_float("grain", _D.grain, "Largest deviation of noise that is added, in grey levels; 0 for none.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", _D.batch_size, "Images of a step, over all devices.")
DATA_SEED = flags.DEFINE_integer("data_seed", _D.seed, "Of the order of the images and their augmentation.")
THREADS = flags.DEFINE_integer("threads", _D.threads, "That read and decode; they change no result.")

OPTIMISER = flags.DEFINE_enum("optimiser", _O.kind, ["adamw", "sgd", "muon"], "SGD and Muon have momentum.")
RATE = flags.DEFINE_float("learning_rate", _O.learning_rate, "At its peak.")
TRUNK_FACTOR = flags.DEFINE_float("trunk_factor", _O.trunk_factor, "Times the learning rate, for the VGG16 trunks.")
SCHEDULE = flags.DEFINE_enum("schedule", _O.schedule, ["constant", "cosine", "poly"], "Of the learning rate.")
WARMUP = flags.DEFINE_integer("warmup_steps", _O.warmup_steps, "Of a linear rise of the learning rate from 0.")
MOMENTUM = flags.DEFINE_float("momentum", _O.momentum, "Of SGD and Muon.")
DECAY = flags.DEFINE_float("weight_decay", _O.weight_decay, "Of the kernels of convolutions.")
CLIP = flags.DEFINE_float("clip_norm", _O.clip_norm, "Largest norm of the gradient; 0 for no limit.")
KEEP_NORMS = flags.DEFINE_bool("keep_norms", _O.keep_norms, "Updates turn the weights of a channel, at the same norm.")
EMA = flags.DEFINE_float("ema", _O.ema, "Decay of a moving average of the parameters; 0 for none.")

LOG_EVERY = flags.DEFINE_integer("log_every", _S.log_every, "Steps between rows of figures.")
EVALUATE_EVERY = flags.DEFINE_integer("evaluate_every", _S.evaluate_every, "Steps between validations.")
SAVE_EVERY = flags.DEFINE_integer("save_every", _S.save_every, "Steps between checkpoints.")
MAX_SECONDS = flags.DEFINE_float("max_seconds", _S.max_seconds, "After these it scores, saves and stops; 0: no limit.")


def config_from_flags() -> TrainConfig:
    """Returns the configuration of the run; a value that is no good raises ValueError."""
    return TrainConfig.from_json(
        {
            "network": _network(),
            "loss": {
                "kind": LOSS.value,
                "stream_weights": _numbers(ALPHAS),
                "fnet_weight": FNET_WEIGHT.value,
                "step_weight": STEP_WEIGHT.value,
                "overlap_weight": OVERLAP_WEIGHT.value,
            },
            "data": {
                "name": DATA.value,
                "split": SPLIT.value,
                "validation": VALIDATION.value,
                "size": SIZE.value,
                "crop": CROP.value,
                "orientations": ORIENTATIONS.value,
                "grain": GRAIN.value,
                "batch_size": BATCH_SIZE.value,
                "seed": DATA_SEED.value,
                "threads": THREADS.value,
            },
            "optimiser": {
                "kind": OPTIMISER.value,
                "learning_rate": RATE.value,
                "trunk_factor": TRUNK_FACTOR.value,
                "schedule": SCHEDULE.value,
                "warmup_steps": WARMUP.value,
                "momentum": MOMENTUM.value,
                "weight_decay": DECAY.value,
                "clip_norm": CLIP.value,
                "ema": EMA.value,
                "keep_norms": KEEP_NORMS.value,
            },
            "steps": STEPS.value,
            "accumulate": ACCUMULATE.value,
            "seed": SEED.value,
            "init_from": INIT_FROM.value,
        }
    )


def _network() -> dict[str, Any]:
    return {
        "scales": SCALES.value,
        "share_streams": SHARE.value,
        "use_fnet": FNET.value,
        "use_rrnet": RRNET.value,
        "num_steps": NUM_STEPS.value,
        "width": WIDTH.value,
        "dtype": DTYPE.value,
        "precision": PRECISION.value,
        "remat": REMAT.value,
        "remat_policy": POLICY.value,
    }


def _numbers(flag: flags.FlagHolder[list[str]]) -> list[float]:
    try:
        return [float(text) for text in flag.value]
    except ValueError as error:
        raise ValueError(f"--{flag.name} takes numbers with commas between, not {','.join(flag.value)}") from error


def schedule_from_flags() -> Schedule:
    """Returns when the loop does what; a value that is no good raises ValueError."""
    return Schedule(
        log_every=LOG_EVERY.value,
        evaluate_every=EVALUATE_EVERY.value,
        save_every=SAVE_EVERY.value,
        max_seconds=MAX_SECONDS.value,
    )


def run_script(name: str, arguments: list[str], action: Callable[[], object]) -> None:
    """Runs `action`, which trains; a stop has the status of its signal, what a user can mend is a message and 1."""
    if flags.FLAGS.verbosity == logging.INFO:  # the default of absl, by which Orbax reports every file that it writes
        logging.set_verbosity(logging.WARNING)
    try:
        if arguments[1:]:
            raise ValueError(f"flags begin with --; what are {' '.join(arguments[1:])}?")
        keep_compiled_programs(cache_folder() / "compiled")
        if not RUN_DIR.value:
            raise ValueError("give the folder of the run, which is made where it is not there: --run_dir=runs/first")
        action()
    except KeyboardInterrupt:  # before the first step, or after the last
        sys.exit(130)
    except Stopped as stopped:
        print(stopped)
        sys.exit(128 + stopped.signal_number)
    except (ValueError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        sys.exit(f"{name}: {error}")


def train_once() -> None:
    """Trains as the flags say."""
    config, schedule = config_from_flags(), schedule_from_flags()
    with together(COORDINATOR.value, NUM_PROCESSES.value, PROCESS.value, ends_of_all=Stopped):
        train(
            config,
            data_dir=DATA_DIR.value,
            run_dir=RUN_DIR.value,
            schedule=schedule,
            resume=RESUME.value,
            num_devices=DEVICES.value,
        )


def main(arguments: list[str]) -> None:
    """Trains one network."""
    run_script("train.py", arguments, train_once)


if __name__ == "__main__":
    app.run(main)
