"""``btbnet detect``: what is in focus in photographs."""

import argparse
import contextlib
import hashlib
import json
import operator
import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import jax
from rich.console import Console
from rich.progress import Progress

from btbnet_jax import report
from btbnet_jax.cli.kinds import KINDS, as_asked
from btbnet_jax.compiler import keep_compiled_programs
from btbnet_jax.detect import Detection, Detector
from btbnet_jax.images import MAX_PIXELS, ImageError, Photograph, quantise, read_photograph
from btbnet_jax.pictures import COLUMNS, Found, Report, ahead, as_numbers, find_pictures, paths_in, result_names
from btbnet_jax.weights import cache_folder
from btbnet_jax.writing import output_folder, write_whole

_DESCRIPTION = """\
Finds what is in focus in photographs.

Takes files, folders (with all folders within), patterns, or - for a picture from standard input. Each result goes into
the output folder under the name of its photograph; nothing that is there is overwritten. A map is white where the
photograph is in focus.

examples:
  btbnet detect photo.jpg                          the map of one photograph, focus/photo_focus.png
  btbnet detect holiday --kind overlay             a folder; what is blurred is tinted
  btbnet detect '*.jpg' --kind mask --invert       white where blurred, for a tool that masks the blur
  btbnet detect holiday --kind none --select 'focus<0.1'
                                                   lists what is hardly in focus anywhere; no pictures
  btbnet detect - < photo.jpg > map.png            in a pipe
  btbnet detect large.jpg --max-size 0             at the photograph's own resolution, in tiles
"""

_OUTPUT = Path("focus")
_REPORT = "report.csv"
_DRAWING = Lock()  # Matplotlib's settings are those of all threads


def add_command(commands: Any) -> None:
    """Adds ``detect`` to the subcommands of an argument parser."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser("detect", help="find what is in focus", description=_DESCRIPTION, formatter_class=kind)
    parser.add_argument("inputs", nargs="*", help="files, folders, patterns, or - for standard input")
    parser.add_argument("--list", type=Path, help="file with one path a line; - for standard input")
    parser.add_argument("--weights", help="weights file or name of a network (default: the first that is found)")
    parser.add_argument("--output", type=Path, default=_OUTPUT, help=f"folder for the results (default: {_OUTPUT})")
    kinds = "; ".join(f"{name}: {one.text}" for name, one in KINDS.items())
    parser.add_argument("--kind", choices=[*KINDS, "none"], default="map", help=f"what to write: {kinds}; none")
    parser.add_argument("--all-maps", action="store_true", help="also a labelled panel of all maps on the way")
    parser.add_argument("--invert", action="store_true", help="white where blurred")
    parser.add_argument("--threshold", type=float, default=0.5, help="of masks and of the share in focus (0.5)")
    parser.add_argument(
        "--max-size",
        type=int,
        default=None,
        help="longest side that the network sees, 0 for the photograph's own; by default a square of the size that the "
        "network was trained at, or as many pixels in the shape of a long photograph",
    )
    parser.add_argument(
        "--tile",
        type=int,
        default=512,
        help="side in pixels of the tiles of large photographs, which bounds memory (512)",
    )
    parser.add_argument("--batch", type=int, default=4, help="photographs at a time (4)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--exact", action="store_true", help="plain float32 sums: slower, the same but for rounding")
    kinds.add_argument("--half", action="store_true", help="bfloat16, faster where the device has instructions for it")
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), help="where to compute (default: the best there is)")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help=f"refuse larger ones ({MAX_PIXELS:,})")
    parser.add_argument("--report", type=Path, help="write what was found as .csv or .json, too")
    parser.add_argument("--select", type=_selection, help="print the paths of pictures such as 'focus<0.1'")
    parser.add_argument("--overwrite", action="store_true", help="do again what is done, and replace what is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Does as the options say; returns 1 where a picture could not be read."""
    _check(options)
    _choose_device(options.device)
    keep_compiled_programs(cache_folder() / "compiled")
    if options.inputs == ["-"]:
        return _pipe(options)
    listed = paths_in(options.list) if options.list else []
    pictures, problems, notes = find_pictures([*options.inputs, *listed], results=options.output)
    if pictures:
        also = output_folder(options.report.parent) if options.report else contextlib.nullcontext()
        with output_folder(options.output), also:
            problems += _detect(pictures, options)
    for line in notes + problems:
        print(f"btbnet: {line}", file=sys.stderr)
    return 1 if problems else 0


def _detect(pictures: list[Found], options: argparse.Namespace) -> list[str]:
    """Works on what is not done yet; returns what went wrong, a line each."""
    detector, settings = _detector(options)
    table = Report(options.output / _REPORT, settings)
    ending = "" if options.kind == "none" else KINDS[options.kind].ending
    work, problems, before = [], list[str](), 0
    for picture, name in zip(pictures, result_names(pictures, ending or "_"), strict=True):
        result = options.output / name if ending else None
        if table.done(picture.path, result) and not options.overwrite:
            before += 1
        elif result and result.exists() and not options.overwrite:
            problems.append(
                f"{picture.path}: {result} is there already, of other settings or of another picture: give another "
                "folder (--output), or --overwrite"
            )
        else:
            work.append((picture, result))
    problems += _work(work, detector, table, options) if work else []
    _finish(pictures, table, options, before=before)
    return problems


def _check(options: argparse.Namespace) -> None:
    """Raises ValueError for options that cannot be, before anything is read."""
    if not options.inputs and not options.list:
        raise ValueError("give photographs: files, folders, patterns, or - for standard input")
    if "-" in options.inputs and len(options.inputs) > 1:
        raise ValueError("- stands for one picture from standard input, alone")
    no_effect = {
        "with -": ("list", "output", "all_maps", "report", "select", "overwrite") if options.inputs == ["-"] else (),
        "with --kind none": ("all_maps", "invert") if options.kind == "none" else (),
    }
    for where, idle in no_effect.items():
        for name in idle:
            if getattr(options, name) not in (None, False, _OUTPUT):
                raise ValueError(f"--{name.replace('_', '-')} has no effect {where}: leave it out")
    if not 0 <= options.threshold <= 1:
        raise ValueError(f"--threshold is from 0 to 1, not {options.threshold}")
    if options.max_size is not None and options.max_size < 0:
        raise ValueError(f"--max-size is 0 or more, not {options.max_size}")
    if options.report and options.report.suffix not in (".csv", ".json"):
        raise ValueError(f"--report ends in .csv or .json, not {options.report.suffix!r}")
    if options.report and options.report.exists() and not options.overwrite:
        raise ValueError(f"{options.report} is there already: give another --report, or --overwrite")
    if options.report and options.report.absolute() == (options.output / _REPORT).absolute():
        raise ValueError(f"{options.report} is where what was done is kept, for this folder: give another --report")


def _choose_device(name: str | None) -> None:
    """Makes JAX compute where it is asked to; raises ValueError where there is no such device."""
    if name is None:
        return
    jax.config.update("jax_platforms", {"gpu": "cuda"}.get(name, name))
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"JAX finds no {name} here; leave out --device, or install JAX for it "
            "(https://docs.jax.dev/en/latest/installation.html)"
        ) from error


def _detector(options: argparse.Namespace) -> tuple[Detector, str]:
    """The detector, and a short digest of all that its results depend on."""
    resolution = "training" if options.max_size is None else options.max_size or "native"
    how = {"tile": options.tile, "batch_size": options.batch, "exact": options.exact, "half": options.half}
    detector = Detector.load(options.weights, resolution=resolution, **how)
    network = [detector.digest, detector.config.to_json(), detector.training_size]
    what = [network, resolution, options.kind, options.all_maps, options.invert, options.threshold]
    return detector, hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _pipe(options: argparse.Namespace) -> int:
    """One picture from standard input, its result to standard output."""
    if options.kind == "none":
        raise ValueError("a picture from standard input has its result on standard output: give a --kind")
    photograph = read_photograph(sys.stdin.buffer.read(), max_pixels=options.max_pixels)
    detection = _detector(options)[0].detect([photograph])[0]
    sys.stdout.buffer.write(KINDS[options.kind].draw(photograph, detection, options))
    return 0


def _work(
    work: list[tuple[Found, Path | None]], detector: Detector, table: Report, options: argparse.Namespace
) -> list[str]:
    """Reads, computes and writes, at the same time; returns what went wrong, a line each."""

    def read(item: tuple[Found, Path | None]) -> Photograph:
        return read_photograph(item[0].path, max_pixels=options.max_pixels)

    problems: list[str] = []
    pictures, written = ahead(read, work), list[Future[str]]()
    with ThreadPoolExecutor(2) as writers, Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("photographs", total=len(work))
        try:
            for some in iter(lambda: list(islice(pictures, options.batch)), []):
                good = []
                for (picture, result), future in some:
                    if error := future.exception():
                        problems.append(_noted(picture, error, table))
                    else:
                        good.append((picture, result, future.result()))
                detections = detector.detect([photograph for *_, photograph in good], all_maps=options.all_maps)
                problems += _problems_of(written)  # of those before, written while these were computed
                written = [
                    writers.submit(
                        _finished, picture, result, photograph, detection, detector.map_names(), table, options
                    )
                    for (picture, result, photograph), detection in zip(good, detections, strict=True)
                ]
                progress.advance(task, len(some))
        finally:
            problems += _problems_of(written)
    return problems


def _problems_of(written: list[Future[str]]) -> list[str]:
    return [problem for future in written if (problem := future.result())]


def _finished(
    picture: Found,
    result: Path | None,
    photograph: Photograph,
    detection: Detection,
    map_names: list[str],
    table: Report,
    options: argparse.Namespace,
) -> str:
    """Writes a result, and adds its picture to the report at once; returns what went wrong, or nothing."""
    try:
        if result is not None:
            _write(result, photograph, detection, map_names, options)
    except OSError as error:
        return _noted(picture, error, table)
    height, width = photograph.image.shape[:2]
    box = detection.box_in_focus(options.threshold)
    table.add(
        picture.path,
        result=result,
        height=height,
        width=width,
        focus=f"{detection.fraction_in_focus(options.threshold):.4f}",
        notes="; ".join(detection.notes),
        **({} if box is None else box._asdict()),
    )
    return ""


def _noted(picture: Found, error: BaseException, table: Report) -> str:
    """Adds to the report what is wrong with a picture, and returns it; what is no fault of the picture is raised."""
    if not isinstance(error, ImageError | OSError):
        raise error
    text = str(error) or type(error).__name__
    problem = text if str(picture.path) in text else f"{picture.path}: {text}"
    table.add(picture.path, error=problem)
    return problem


def _write(
    result: Path, photograph: Photograph, detection: Detection, map_names: list[str], options: argparse.Namespace
) -> None:
    result.parent.mkdir(parents=True, exist_ok=True)
    if options.all_maps:
        from btbnet_jax import plots  # Matplotlib takes half a second to import

        maps = [quantise(as_asked(one, options)) for one in detection.maps.values()]
        name = result.name.removesuffix(KINDS[options.kind].ending)
        with _DRAWING:
            plots.panel(
                result.with_name(f"{name}_maps.png"),
                [[photograph.image, *maps]],
                column_titles=["photograph", *map_names],
                row_titles=[name],
            )
    write_whole(result, KINDS[options.kind].draw(photograph, detection, options))  # last: what is there is done


def _finish(pictures: list[Found], table: Report, options: argparse.Namespace, *, before: int) -> None:
    """Prints what was selected to standard output, and what was done to standard error; writes the report asked for."""
    rows = [row | {"file": str(picture.path)} for picture in pictures if (row := table.row(picture.path))]
    if options.report and options.report.suffix == ".csv":
        report.write_csv(options.report, rows, list(COLUMNS))
    elif options.report:
        report.write_json(options.report, {"pictures": [as_numbers(row) for row in rows]})
    if options.select:
        for row in rows:
            if not row["error"] and options.select(float(row["focus"])):
                sys.stdout.buffer.write(f"{row['file']}\n".encode("utf-8", "surrogateescape"))
        sys.stdout.flush()
    done = sum(not row["error"] for row in rows)
    counted = f"{done} of {len(pictures)} picture{'s' if len(pictures) > 1 else ''} done"
    results = [os.path.relpath(row["result"]) for row in rows if row["result"]]
    where = f": {results[0]}" if len(results) == 1 else f", in {options.output}" if results else ""
    print(f"{counted}{f' ({before} before)' if before else ''}{where}; what was found: {table.path}", file=sys.stderr)


def _selection(text: str) -> Callable[[float], bool]:
    """Whether a share in focus is one that was asked for, such as "focus<0.1"."""
    match = re.fullmatch(r"\s*focus\s*(<=|>=|<|>)\s*(0?\.\d+|[01](?:\.\d*)?)\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 'focus<0.1' or 'focus>=0.5'")
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[match[1]]
    limit = float(match[2])
    return lambda share: compare(share, limit)
