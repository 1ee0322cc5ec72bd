"""The training loop: data, steps, validation, checkpoints, and how a run stops and goes on."""

import dataclasses
import fcntl
import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from btbnet_jax import evaluation, metrics, plots, report
from btbnet_jax.checkpoints import Checkpoints
from btbnet_jax.config import TrainConfig
from btbnet_jax.data import Examples, hold_out, train_batches
from btbnet_jax.fields import differences
from btbnet_jax.initial import initial_params, start_in_words
from btbnet_jax.journal import RunLog
from btbnet_jax.processes import Ballot, is_first, meet
from btbnet_jax.silence import silent_in_words
from btbnet_jax.sources import shi
from btbnet_jax.training import TrainState, init_state, make_mesh, make_train_step, on_own_devices, replicated, shared
from btbnet_jax.writing import output_folder

NUM_PICTURES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """When the loop does what, in steps; nothing of it changes the result.

    Attributes:
      log_every: write the mean of the last steps' figures.
      evaluate_every: score the validation images, save, and keep the best.
      save_every: save a checkpoint.
      max_seconds: score, save and stop after the step that is going on then; 0 for no limit.
    """

    log_every: int = 20
    evaluate_every: int = 500
    save_every: int = 100
    max_seconds: float = 0.0

    def __post_init__(self) -> None:
        if min(self.log_every, self.evaluate_every, self.save_every) < 1:
            raise ValueError(f"intervals are 1 step or more: {self}")
        if not 0 <= self.max_seconds < math.inf:
            raise ValueError(f"max_seconds is 0 for no limit, or a number of seconds, not {self.max_seconds}")


class Stopped(Exception):
    """A run that was asked to stop by a signal, after it had saved.

    Attributes:
      signal_number: 2 for Ctrl-C, 15 for SIGTERM, 14 (SIGALRM) for its limit of time.
    """

    def __init__(self, signal_number: int, step: int, run_dir: Path) -> None:
        name = "its limit of time" if signal_number == signal.SIGALRM else signal.Signals(signal_number).name
        super().__init__(f"stopped by {name} after step {step}, which is saved; the same command continues {run_dir}")
        self.signal_number = signal_number


def train(
    config: TrainConfig,
    *,
    data_dir: Path | str,
    run_dir: Path | str,
    schedule: Schedule = Schedule(),
    resume: bool = True,
    num_devices: int | None = None,
) -> TrainState:
    """Returns the state after the last step; the run's folder keeps checkpoints, figures and pictures.

    An interrupted run goes on as if it had not been interrupted, bit for bit on a CPU.

    Args:
      config: of the run.
      data_dir: folder that data sets are built in.
      run_dir: folder of the run, made if it does not exist.
      schedule: when to log, evaluate and save.
      resume: go on with the run that the folder holds; otherwise a folder with a run is refused.
      num_devices: how many devices to use, None for all.

    Raises:
      ValueError: the folder holds a run of another configuration or one that is going on, the data do not fit the
        configuration, or test images would be trained on.
      OSError: the folder cannot be written into.
      FloatingPointError: the loss or its gradient is not finite.
      CheckpointError: a checkpoint cannot be written, or none of those that are there can be read.
      Stopped: the process received SIGINT or SIGTERM, or its time is up.
    """
    run_dir = Path(run_dir)
    split = Examples(data_dir, config.data.name, config.data.split)
    _refuse_test_images(config, split)
    examples, validation = hold_out(split, config.data.validation)
    mesh = make_mesh(num_devices)
    if (part := config.data.batch_size // config.accumulate) % mesh.size:
        raise ValueError(
            f"{mesh.size} devices cannot share a batch of {part} images equally: give a batch size that is a multiple "
            "of them (times --accumulate), or use fewer devices (--devices=1)"
        )
    images = {"train": examples.digest(), "validation": validation.digest()}
    folder = run_dir / "checkpoints"
    with output_folder(folder), _alone_in(run_dir), Checkpoints(folder) as checkpoints, _signals(schedule) as signals:
        config, state = _start(config, images, checkpoints, run_dir, mesh, resume)
        if (start := int(state.step)) == config.steps:
            if is_first():
                print(f"{run_dir} has had all of its {start} steps: nothing is left to do")
            return state
        with RunLog(
            run_dir, step=start, num_steps=config.steps, batch_size=config.data.batch_size, quiet=not is_first()
        ) as log:
            log.say(f"{len(examples)} images to train on, {len(validation)} to validate by; {run_dir} at step {start}")
            if config.init_from and not start:
                log.say(start_in_words(config))
            shard = jax.process_index(), jax.process_count()
            batches = train_batches(examples, config.data, start=start, shard=shard)
            step_function, before, wishes_to_stop = make_train_step(config), None, Ballot(mesh)
            for step in range(start + 1, config.steps + 1):
                with log.waiting_for_data():
                    batch = shared(next(batches), mesh)
                state, figures = step_function(state, batch)
                jax.block_until_ready(before)  # no more than a step ahead of the devices: signals are soon heeded
                if (step - 1) % schedule.log_every == 0:
                    log.write_means()  # of the steps before this one, which the devices now compute
                log.add(step, before := figures)
                last, stop = step == config.steps, wishes_to_stop(max(signals, default=0))  # a later one: the next step
                evaluate = last or step % schedule.evaluate_every == 0 or stop == signal.SIGALRM
                save = evaluate or stop or step % schedule.save_every == 0
                if save:
                    log.write_means()
                    score = partial(_validate, config, state, validation, run_dir, mesh, log) if evaluate else None
                    with log.off_the_clock():
                        _save(checkpoints, config, images, state, score)
                if stop and not last:
                    raise Stopped(stop, step, run_dir)
    return state


def _refuse_test_images(config: TrainConfig, examples: Examples) -> None:
    """Raises ValueError where a run would learn what networks are tested by."""
    tested = set(shi.TEST).intersection(examples.name(index) for index in range(len(examples)))
    if tested or "test" in config.data.split:
        which = f"{len(tested)} of Shi's test images" if tested else "the images of a test split"
        raise ValueError(
            f"{which} would be trained on, and every score by them would mean nothing: name another split, or leave "
            "them out of the set (btbnet data pairs has --train-names)"
        )


def _start(
    config: TrainConfig,
    images: dict[str, str],
    checkpoints: Checkpoints,
    run_dir: Path,
    mesh: jax.sharding.Mesh,
    resume: bool,
) -> tuple[TrainConfig, TrainState]:
    """The configuration with all that `init_from` says, and the state to go on from."""
    path = run_dir / "config.json"
    if checkpoints.steps():
        if not path.exists():
            raise ValueError(
                f"{run_dir} holds checkpoints without the {path.name} that says what they are: give another one"
            )
        old = TrainConfig.from_json(json.loads(path.read_text()))
        if not resume:
            raise ValueError(f"{run_dir} holds a run already; give another folder, or leave out --noresume")
        # Threads change nothing, and the normalisation came with the weights of `init_from`.
        free = ("data.threads", *(("network.normalisation",) if config.init_from else ()))
        if contradictions := [line for line in differences(old, config) if not line.startswith(free)]:
            listed = "\n  ".join(contradictions)
            raise ValueError(
                f"{run_dir} holds a run of another configuration (its value -> yours):\n  {listed}\n"
                "Give the values that it has to go on with it, or another folder (--run_dir)"
            )
        targets = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
            jax.eval_shape(lambda: _trees(init_state(old))),
        )
        checkpoint: Any = checkpoints.restore(targets)  # as there are some
        if (before := checkpoint.record["images"]) != images:
            changed = " and ".join(name for name in images if before[name] != images[name])
            raise ValueError(
                f"{run_dir} was trained with other {changed} images than the data folder holds now: give the data "
                "folder that it had, or start another run"
            )
        trees: dict[str, Any] = {"average": None} | checkpoint.trees
        old = dataclasses.replace(old, data=dataclasses.replace(old.data, threads=config.data.threads))
        return old, TrainState(step=jax.device_put(np.int32(checkpoint.step), replicated(mesh)), **trees)
    meet("before a run begins")  # for each of several processes has to find that it has not begun
    config, params = initial_params(config)
    state = jax.device_put(init_state(config, params), replicated(mesh))
    if is_first():
        report.write_json(path, config.to_json())
    return config, state


def _trees(state: TrainState) -> dict[str, Any]:
    """The parts of a state that a checkpoint holds as trees of their own."""
    trees = {"params": state.params, "optimiser": state.optimiser}
    return trees if state.average is None else trees | {"average": state.average}


def _save(
    checkpoints: Checkpoints,
    config: TrainConfig,
    images: dict[str, str],
    state: TrainState,
    score: Callable[[], dict[str, float] | None] | None,
) -> None:
    """Saves a checkpoint with its scores, and also where `score` fails, which is raised afterwards."""
    step, scores, failure = int(state.step), None, None
    try:
        scores = score() if score else None
    except Exception as error:
        if jax.process_count() > 1:  # one would wait for the others
            raise
        failure = error
    record = {
        "config": config.to_json(),
        "next_batch": step,
        "images": images,
        "validation": scores or {},
        "versions": report.versions(),
    }
    checkpoints.save(step, _trees(state), record, **({} if scores is None else {"metric": scores["adaptive"]}))
    if failure is not None:
        raise failure


def _validate(
    config: TrainConfig, state: TrainState, examples: Examples, run_dir: Path, mesh: jax.sharding.Mesh, log: RunLog
) -> dict[str, float] | None:
    """The scores of all protocols on the validation images, logged, and a panel of some of them."""
    if not len(examples):
        return None
    step, size, num = int(state.step), config.data.size, jax.process_count()
    own, batch_size = mesh.local_mesh, config.data.batch_size if size else num
    shares = own if batch_size // num % own.size == 0 else None
    method = evaluation.network_method(config.network, on_own_devices(state.best_params, mesh), mesh=shares)
    counts = evaluation.count_levels(
        {"network": method},
        examples,
        size=size,
        batch_size=batch_size,
        threads=config.data.threads,
        shard=(jax.process_index(), num),
    )
    scores = metrics.scores(counts["network"])
    log.write("validation", step, scores)
    log.say(f"step {step}: validation adaptive F {scores['adaptive']:.4f}, MAE {scores['mae']:.4f}")
    if silent := silent_in_words(state.optimiser):
        log.say(f"step {step}: {silent}")
    if is_first():
        _draw(run_dir / "validation" / f"{step:07d}.png", method, examples, size, batch_size // num)
    return scores


def _draw(path: Path, method: evaluation.Method, examples: Examples, size: int, batch_size: int) -> None:
    """A panel of some of the maps."""
    count = min(NUM_PICTURES, len(examples))
    indices = [(2 * row + 1) * len(examples) // (2 * count) for row in range(count)]
    rows = evaluation.pictures([method], examples, indices, size=size, batch_size=batch_size)
    path.parent.mkdir(exist_ok=True)
    names = [examples.name(index) for index in indices]
    plots.panel(path, rows, column_titles=["image", "mask", "map"], row_titles=names)


@contextmanager
def _alone_in(run_dir: Path) -> Iterator[None]:
    """Refuses a folder that another program trains in; the lock ends with the process, however it ends."""
    if not is_first():
        yield  # the first process holds it for all of the run's
        return
    lock = run_dir / ".lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another program is training in {run_dir}; wait for its end, or stop it") from error
        try:
            yield
        finally:
            if not (run_dir / "config.json").exists():  # refused before it began: nothing is left
                lock.unlink()


@contextmanager
def _signals(schedule: Schedule) -> Iterator[list[int]]:
    """A list that SIGINT, SIGTERM and the alarm at the limit of time are added to, instead of ending the process."""
    received: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    try:
        old = [signal.signal(kind, lambda number, _: received.append(number)) for kind in kinds]
    except ValueError as error:  # not in the main thread, which alone receives signals
        if schedule.max_seconds:
            raise ValueError("a limit of time needs the main thread: leave out max_seconds") from error
        yield received
        return
    try:
        signal.setitimer(signal.ITIMER_REAL, schedule.max_seconds)
        yield received
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for kind, handler in zip(kinds, old, strict=True):
            signal.signal(kind, handler)
