"""Makes a bundle: one zip file that Python runs, ``python3 btbnet-3s.pyz``."""

import io
import itertools
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from btbnet_jax.bundle import limits
from btbnet_jax.bundle.limits import BundleError
from btbnet_jax.bundle.photographs import photographs
from btbnet_jax.config import DataConfig
from btbnet_jax.sources.checks import listed
from btbnet_jax.weights import load_weights
from btbnet_jax.writing import write_whole

RECIPE = {
    "simulated": "configs/btbnet_3s_simulated.flags",
    "shi": "configs/btbnet_3s_shi.flags",
}
"""Flag files of the stages, in the order in which they are trained."""

_NAMES = limits.MB // 2  # of the zip file's own, beside the content of its members: 0.3 MB for all our photographs


def pack(
    path: Path,
    *,
    project: Path,
    data_dir: Path,
    stages: Sequence[str] = tuple(RECIPE),
    weights: Path | None = None,
    wheels: Path | None = None,
) -> str:
    """Writes a bundle, the same bytes for the same content, and returns what in it weighs what.

    Args:
      path: of the file; one that is there is replaced.
      project: folder of this repository.
      data_dir: folder of the built data sets that the stages train on.
      stages: of `RECIPE`, in their order.
      weights: file of parameters that the first of the stages starts from; a later stage than the recipe's first has to
        have some.
      wheels: folder of the packages that are missing where the bundle will run.

    Raises:
      BundleError: something is missing, or over a limit.
      BuildError: a data set is not built.
      WeightsError: the weights file is damaged.
    """
    if not stages or list(stages) != [stage for stage in RECIPE if stage in stages]:
        raise BundleError(f"stages are some of {', '.join(RECIPE)}, in this order, not {', '.join(stages) or 'none'}")
    if stages[0] != next(iter(RECIPE)) and weights is None:
        raise BundleError(
            f"{stages[0]} goes on from what the stage before has learned: give that (--weights), or pack both stages"
        )
    flags = {stage: project / RECIPE[stage] for stage in stages}
    members = {
        "code": _code(project, flags.values()),
        "wheels": _wheels(wheels),
        "incoming weights": {"weights/start.safetensors": _checked_weights(weights)} if weights else {},
    }
    rest = len(_zipped(members))
    most_of = {"data in all": limits.MOST_DATA, "bundle": limits.MOST_BUNDLE}
    text = limits.table(_weighed(members) | {"bundle": rest}, most_of)
    advice = f"leave out wheels or a stage, or store weights in fewer bits\n{text}"
    limits.check("the bundle without photographs", rest, limits.MOST_BUNDLE - _NAMES, advice)
    data = {stage: _data_of(file) for stage, file in flags.items()}
    most = min(limits.MOST_DATA, limits.MOST_BUNDLE - rest - _NAMES)
    packed = photographs(data_dir, data, most)
    for kind, folder in (
        ("photographs with blur", "pairs/images"),
        ("masks", "pairs/masks"),
        ("clear photographs", "clear"),
    ):
        of_kind = {f"data/{name}": file for name, file in packed.files.items() if name.startswith(f"{folder}/")}
        members[f"{kind}, {len(of_kind)}"] = of_kind
    manifest = {"stages": {stage: RECIPE[stage] for stage in stages}, "quality": packed.quality, "sets": packed.sets}
    members["manifest"] = {"manifest.json": json.dumps(manifest, indent=1).encode()}
    archive = _zipped(members)
    data_in_all = sum(map(len, packed.files.values()))
    text = limits.table(_weighed(members) | {"data in all": data_in_all, "bundle": len(archive)}, most_of)
    limits.check("the bundle", len(archive), limits.MOST_BUNDLE, f"leave out wheels or a stage\n{text}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, archive)
    return f"{text}\nJPEG quality {packed.quality}; {path}"


def _weighed(members: Mapping[str, Mapping[str, bytes]]) -> dict[str, int]:
    return {kind: sum(map(len, files.values())) for kind, files in members.items() if files}


def _code(project: Path, flags: Iterable[Path]) -> dict[str, bytes]:
    """The program of the bundle, and the files of this project that it needs; not the weights that are released."""
    files = [project / "train.py", *flags]
    if missing := [path for path in files if not path.is_file()]:
        raise BundleError(f"{listed(map(str, missing))} not found: give the folder of this repository (--project)")
    package = project / "btbnet_jax"
    files += [path for suffix in ("py", "txt", "typed") for path in sorted(package.rglob(f"*.{suffix}"))]
    code = {f"code/{path.relative_to(project)}": path.read_bytes() for path in files}
    return {"__main__.py": (package / "bundle" / "runner.py").read_bytes()} | code


def _wheels(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    paths = sorted(folder.glob("*.whl"))
    if not paths:
        raise BundleError(f"{folder} holds no wheels: name a folder that `pip download` has filled, or none")
    counts = Counter(path.name.partition("-")[0].lower() for path in paths)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise BundleError(f"{folder} has {listed(twice)} more than once, which pip will not install: keep one of each")
    return {f"wheels/{path.name}": path.read_bytes() for path in paths}


def _checked_weights(path: Path) -> bytes:
    load_weights(path)
    return path.read_bytes()


def _data_of(flag_file: Path) -> DataConfig:
    """What a flag file says of data."""
    given = dict(re.findall(r"^--(\w+)=(.*)$", flag_file.read_text("utf-8"), re.M))
    named = {"name": given["data"], "split": given["split"], "validation": given["validation"]}
    return DataConfig.from_json(named | {"size": int(given["size"])})


def _zipped(members: Mapping[str, Mapping[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in itertools.chain(*(files.items() for files in members.values())):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # all of one date: the same bytes
    return buffer.getvalue()
