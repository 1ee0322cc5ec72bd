"""What `btbnet detect` has left in a folder."""

import csv
from pathlib import Path


def results(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rows(folder: Path) -> dict[str, dict[str, str]]:
    """The report by the paths of pictures beside the folder."""
    with (folder / "report.csv").open(newline="", encoding="utf-8") as file:
        return {str(Path(row["file"]).relative_to(folder.parent)): row for row in csv.DictReader(file)}
