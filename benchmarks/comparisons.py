"""Runs every comparison with PyTorch, one after the other, into one page: two hours on two fast cores.

    pip install -e '.[benchmarks]'
    python benchmarks/comparisons.py --page benchmarks/against_pytorch.md
    python benchmarks/comparisons.py --page results/gpu.md --gpu         # and what the programs are made of, there
    python benchmarks/comparisons.py --page results/gpu.md --gpu --only 'Single layers'      # that section alone

What stands in the page already is not run again, but for sections in which a side failed: so an interrupted command can
be given again.  Take another page, or remove what is to be measured anew.  A section that fails changes nothing, what
it said stands above, and the command ends with status 1, as it does where a side failed.

The sections for a GPU need JAX and PyTorch for it, and Flax, Optax, jaxtyping, safetensors and Pillow with what these
need, but no reader of data sets: so they run in a checkout on a machine without network.  The most wanted come first.
How long they take there is not known yet: a side may take four minutes for its first call, and 30 s for each after it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.against_pytorch import FAILED
from benchmarks.sides import SIDES

Sections = dict[str, tuple[str, ...]]
"""A script of this folder and its options, by the title of what they measure."""

SMALL = ("--width=0.125", "--scales=3/4,3/8,3/16")
LARGE = ("--height=1224", "--breadth=817")
HUGE = ("--height=4243", "--breadth=2828")
CROPS = ("--task=train", "--height=160", "--breadth=160", "--batch=4")
LAYERS = ("--side=320", "--batch=4", "--channels=3:64,64,512,64:1")


def _sides(*names: str) -> list[str]:
    return [f"--side={name}" for name in names]


def _compared(*options: str) -> tuple[str, ...]:
    return "against_pytorch", *options


ALL = _sides(*SIDES)
WITHOUT_DIRECT = _sides(*(side for side in SIDES if side != "JAX, direct"))
FLOAT32 = [side for side in WITHOUT_DIRECT if "bfloat16" not in side]
BFLOAT16 = _sides("JAX, bfloat16", "PyTorch, bfloat16 channels last", "PyTorch, bfloat16 compiled")
ONE_TURN = ("--repeat=1", "--in-a-row", *WITHOUT_DIRECT)

ON_A_CPU: Sections = {
    "btbnet-small, 320 × 320": _compared(*SMALL, "--repeat=15", *ALL),
    "btbnet-small, 1224 × 817": _compared(*SMALL, *LARGE, "--repeat=5", *WITHOUT_DIRECT),
    "A training step of btbnet-small, four crops of 160 × 160": _compared(
        *SMALL, *CROPS, "--repeat=9", *WITHOUT_DIRECT
    ),
    "btbnet-small, 12 megapixels in one piece": _compared(*SMALL, *HUGE, *ONE_TURN),
    "The paper's network, 320 × 320": _compared("--repeat=3", *ALL),
    "One stream of the paper's network (1S), 320 × 320": _compared("--scales=1", "--repeat=3", *ALL),
    "A training step of the paper's network, 320 × 320": _compared("--task=train", *ONE_TURN),
    "The same in turns": _compared("--task=train", "--repeat=2", *_sides("JAX, quick", "PyTorch, eager")),
    "The same in turns, bfloat16": _compared("--task=train", "--repeat=2", *BFLOAT16),
    "The paper's network, 1224 × 817": _compared(*LARGE, "--repeat=0", "--in-a-row", *FLOAT32),
}

LIMITED = ("--gpu", "--in-a-row", "--first-limit=240", "--limit=30")
HALF = (*LIMITED, "--repeat=10", *BFLOAT16)
FULL = (*LIMITED, *_sides("JAX, direct", "PyTorch, channels last", "PyTorch, compiled"))
STEP = ("full_network", "--only=train", "--dtype=bfloat16", "--batch=4", "--repeat=5")
ON_A_GPU: Sections = {
    "A training step of the paper's network, 4 of 320 × 320": _compared("--task=train", "--batch=4", *HALF),
    "The paper's network, 8 of 320 × 320": _compared("--batch=8", *HALF),
    "What these programs are made of": ("operations", "--batch=8", "--dtype=bfloat16"),
    "Single layers": ("layers", *LAYERS, "--dtype=bfloat16"),
    "Gradients of single layers": ("layers", *LAYERS, "--dtype=bfloat16", "--gradients"),
    "Memory of a training step": STEP,
    "The same, half of it computed again": (*STEP, "--remat=half"),
    "The same, all of it computed again": (*STEP, "--remat=all"),
    "The paper's network, 1224 × 817": _compared(*LARGE, *HALF),
    "btbnet-small, 8 of 320 × 320": _compared(*SMALL, "--batch=8", *HALF, "--repeat=50"),
    "btbnet-small, 12 megapixels in one piece": _compared(*SMALL, *HUGE, *HALF),
    "A training step of btbnet-small, four crops of 160 × 160": _compared(*SMALL, *CROPS, *HALF, "--repeat=50"),
    "One stream of the paper's network (1S), 8 of 320 × 320": _compared("--scales=1", "--batch=8", *HALF),
    "The paper's network, 8 of 320 × 320, in float32": _compared("--batch=8", *FULL),
    "Numbers of 8 bits": ("layers", "--side=320", "--batch=4", "--channels=64,512", "--eight-bits"),
}


QUESTIONS = {
    "JAX": "import jax; print(jax.default_backend() == 'gpu')",
    "PyTorch": "import torch; print(torch.cuda.is_available())",
}
"""What prints "True" where a library computes on a GPU."""


def main() -> None:
    """Writes the page, anew after each section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, required=True, help="file for the sections, .md")
    parser.add_argument("--gpu", action="store_true", help="the sections for a GPU")
    parser.add_argument("--only", action="append", metavar="TITLE", help="take this section alone; may be repeated")
    arguments = parser.parse_args()
    sections = ON_A_GPU if arguments.gpu else ON_A_CPU
    if unknown := set(arguments.only or ()) - set(sections):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are: {', '.join(sections)}")
    if arguments.gpu:
        _ask_for_gpus()
    page: Path = arguments.page
    head, *old = (page.read_text("utf-8") if page.exists() else "# Beside PyTorch\n").split("\n## ")
    texts = {title: text for title, _, text in (section.partition("\n") for section in old)}
    failed = []
    for title in arguments.only or sections:
        if title in texts and f"| {FAILED} |" not in texts[title]:
            continue
        if table := _table(*sections[title]):
            texts[title] = f"\n{table}"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text("\n## ".join([head, *(f"{title}\n{text}" for title, text in texts.items())]), "utf-8")
        if not table or f"| {FAILED} |" in table:
            failed.append(title)
    if failed:
        raise SystemExit(f"failed, see above: {', '.join(failed)}")


def _ask_for_gpus() -> None:
    """Fails where JAX or PyTorch has no GPU; by processes of their own, so that none holds its memory."""
    for library, question in QUESTIONS.items():
        found = subprocess.run([sys.executable, "-c", question], check=False, stdout=subprocess.PIPE, text=True)
        if found.stdout.strip() != "True":
            raise SystemExit(f"{library} has no GPU here: install it for this machine's, or leave out --gpu")


def _table(script: str, *options: str) -> str:
    """What a benchmark saves; nothing where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.md")
        command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), *options, f"--save={table}"]
        return "" if subprocess.run(command, check=False).returncode else table.read_text("utf-8")


if __name__ == "__main__":
    main()
