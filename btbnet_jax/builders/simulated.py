"""Builder of the simulated set: clear images of which one half is blurred."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from btbnet_jax.builders.built import made_of
from btbnet_jax.builders.source import Example, Recipe, SourceBuilder, stored_image
from btbnet_jax.images import encode_jpeg, encode_png, read_image
from btbnet_jax.sources import generated, layered, photographs, simulated
from btbnet_jax.sources.archives import archives_in, unpack
from btbnet_jax.sources.checks import SourceError
from btbnet_jax.sources.folders import contents


@dataclasses.dataclass(eq=False)
class SimulatedConfig(tfds.core.BuilderConfig):
    """What the clear sources are, and what is stored.

    Attributes:
      generated: sources are generated, instead of photographs in the manual folder.
      on_the_fly: the clear sources alone are stored, and the reader blurs them.
      layered: scenes of layers out of focus, instead of the paper's 20 versions.
      without: one of `layered.INGREDIENTS` that they lack.
      patches: scenes with patches without texture.
    """

    generated: bool = False
    on_the_fly: bool = False
    layered: bool = False
    without: str | None = None
    patches: bool = False


class SimulatedBuilder(SourceBuilder, skip_registration=True):
    """Clear images, one half of which is blurred."""

    name = "simulated"
    DESCRIPTION = simulated.__doc__ or ""
    MANUAL_DOWNLOAD_INSTRUCTIONS = photographs.HOW_TO_GET
    BUILDER_CONFIGS: ClassVar = [
        SimulatedConfig(
            name="generated",
            generated=True,
            on_the_fly=True,
            description="Generated images, which need no download, stored clear for the reader to blur.",
        ),
        SimulatedConfig(name="photographs", description="20 versions of each photograph, with their masks."),
        SimulatedConfig(
            name="photographs_on_the_fly",
            on_the_fly=True,
            description="The same bits in a twentieth of the room: stored clear for the reader to blur.",
        ),
        SimulatedConfig(
            name="layered",
            layered=True,
            description="8 scenes of each photograph: layers at several distances, through an aperture, as JPEG.",
        ),
        SimulatedConfig(
            name="layered_with_patches",
            layered=True,
            patches=True,
            description="The scenes of `layered`, with patches without texture in the photographs.",
        ),
        *(
            SimulatedConfig(
                name=f"layered_without_{name}",
                layered=True,
                without=name,
                description=f"The same scenes, to see what this gives: {ingredient}.",
            )
            for name, ingredient in layered.INGREDIENTS.items()
        ),
    ]

    @property
    def needs_photographs(self) -> bool:
        """Whether the sources come out of the manual folder."""
        return not self._config().generated

    def origin(self, manual_dir: Path | None) -> dict[str, str]:
        """Returns the folder of photographs, and what is in it."""
        if not self.needs_photographs or not manual_dir:
            return {}
        files = [*photographs.find_photographs((manual_dir,)).values(), *archives_in(manual_dir)]
        return {"manual_dir": str(manual_dir.absolute()), **made_of(files)}

    def _config(self) -> SimulatedConfig:
        assert isinstance(self.builder_config, SimulatedConfig)  # by BUILDER_CONFIGS
        return self.builder_config

    def has_masks(self) -> bool:
        """Whether versions are stored and not their clear sources."""
        return not self._config().on_the_fly

    def _recipes(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Recipe]:
        if not self.needs_photographs:
            return {
                split: Recipe(range(count), partial(_generated_example, split), items_per_file=500)
                for split, count in generated.NUM_SCENES.items()
            }
        sources = sorted(self._photographs(self._manual_folder(dl_manager)).items())
        if self._config().on_the_fly:
            return {"train": Recipe(sources, _clear_example, items_per_file=50)}
        if self._config().layered:
            others = [path for _, path in sources]
            scene = partial(layered.scene, without=self._config().without, patches=self._config().patches)
            return {"train": Recipe(sources, partial(_layered_examples, others, scene), items_per_file=50)}
        return {"train": Recipe(sources, _version_examples, items_per_file=25)}

    def _photographs(self, folder: Path) -> dict[str, Path]:
        """All photographs by name, after all were found good."""
        folders, broken = unpack(archives_in(folder), self._workspace)
        found = photographs.find_photographs((folder, *folders))
        problems = broken + (photographs.check_photographs(found) if found else [contents(folder)])
        if problems:
            raise SourceError("simulated cannot be built from these photographs", [*problems, photographs.HOW_TO_GET])
        return found


def _generated_example(split: str, index: int) -> list[Example]:
    name = f"{split}_{index:04d}"
    return [(name, {"image": encode_png(generated.scene(split, index)), "name": name})]


def _clear_example(source: tuple[str, Path]) -> list[Example]:
    name, path = source
    return [(name, {"image": stored_image(path), "name": name})]


def _version_examples(source: tuple[str, Path]) -> list[Example]:
    examples = []
    for version, image, mask in simulated.blurred_versions(read_image(source[1])):
        name = simulated.version_name(source[0], version)
        examples.append((name, {"image": encode_png(image), "mask": encode_png(mask), "name": name}))
    return examples


def _layered_examples(
    others: Sequence[Path], scene: Callable[..., layered.Scene], source: tuple[str, Path]
) -> list[Example]:
    name, path = source
    far, examples = read_image(path), []
    for version in range(layered.VERSIONS):
        rng = np.random.default_rng([*name.encode(), version])
        made = scene(rng, far, read_image(others[int(rng.integers(len(others)))]))
        values = {"image": encode_jpeg(made.image, made.quality), "mask": encode_png(made.mask)}
        examples.append((example := layered.version_name(name, version), values | {"name": example}))
    return examples
