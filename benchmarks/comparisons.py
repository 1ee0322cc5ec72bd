"""Runs every comparison of `against_pytorch.md`, one after the other, into one page: an hour on two fast cores.

    pip install -e '.[benchmarks]'
    python benchmarks/comparisons.py --page benchmarks/against_pytorch.md
    python benchmarks/comparisons.py --page results/gpu.md --gpu         # in bfloat16

What stands in the page already is not run again, so an interrupted command can be given again; take another page, or
remove what is to be measured anew.  A comparison that fails is left out, and what it said stands above.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.sides import SIDES

SMALL = ("--width=0.125", "--scales=3/4,3/8,3/16")
ALL = tuple(SIDES)
FLOAT32 = tuple(side for side in SIDES if "bfloat16" not in side)
WITHOUT_DIRECT = tuple(side for side in SIDES if side != "JAX, direct")
LARGE = ("--height=1224", "--breadth=817")
HUGE = ("--height=4243", "--breadth=2828")
CROPS = ("--task=train", "--height=160", "--breadth=160", "--batch=4")

ON_A_CPU = {
    "btbnet-small, 320 × 320": (*SMALL, "--repeat=15", ALL),
    "btbnet-small, 1224 × 817": (*SMALL, *LARGE, "--repeat=5", WITHOUT_DIRECT),
    "A training step of btbnet-small, four crops of 160 × 160": (*SMALL, *CROPS, "--repeat=9", WITHOUT_DIRECT),
    "btbnet-small, 12 megapixels in one piece": (*SMALL, *HUGE, "--repeat=1", "--in-a-row", WITHOUT_DIRECT),
    "The paper's network, 320 × 320": ("--repeat=3", ALL),
    "One stream of the paper's network (1S), 320 × 320": ("--scales=1", "--repeat=3", FLOAT32),
    "A training step of the paper's network, 320 × 320": ("--task=train", "--repeat=1", "--in-a-row", WITHOUT_DIRECT),
    "The paper's network, 1224 × 817": (*LARGE, "--repeat=1", ("JAX, quick", "PyTorch, compiled")),
}
QUICK = ("--in-a-row", "--limit=90", ("JAX, bfloat16", "PyTorch, bfloat16 channels last", "PyTorch, bfloat16 compiled"))
ON_A_GPU = {
    "A training step of the paper's network, 4 of 320 × 320": ("--task=train", "--batch=4", "--repeat=10", *QUICK),
    "The paper's network, 8 of 320 × 320": ("--batch=8", "--repeat=20", *QUICK),
    "The paper's network, 1224 × 817": (*LARGE, "--repeat=5", *QUICK),
    "btbnet-small, 8 of 320 × 320": (*SMALL, "--batch=8", "--repeat=50", *QUICK),
    "btbnet-small, 12 megapixels in one piece": (*SMALL, *HUGE, "--repeat=5", *QUICK),
    "A training step of btbnet-small, four crops of 160 × 160": (*SMALL, *CROPS, "--repeat=50", *QUICK),
}


def main() -> None:
    """Writes the page, a section after each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, required=True, help="file for the sections, .md")
    parser.add_argument("--gpu", action="store_true", help="the comparisons for a GPU")
    arguments = parser.parse_args()
    page: Path = arguments.page
    for title, (*options, sides) in (ON_A_GPU if arguments.gpu else ON_A_CPU).items():
        text = page.read_text("utf-8") if page.exists() else "# Beside PyTorch\n"
        if f"\n## {title}\n" not in text:
            section = _section([*options, *(f"--side={side}" for side in sides)])
            page.write_text(f"{text}\n## {title}\n\n{section}" if section else text, "utf-8")


def _section(options: list[str]) -> str:
    """The command of a comparison and its table; nothing where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.md")
        script = Path(__file__).with_name("against_pytorch.py")
        if subprocess.run([sys.executable, str(script), *options, f"--save={table}"], check=False).returncode:
            return ""
        command = shlex.join(["python", "benchmarks/against_pytorch.py", *options])
        return f"```sh\n{command}\n```\n\n{table.read_text('utf-8')}"


if __name__ == "__main__":
    main()
