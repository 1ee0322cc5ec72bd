import importlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from btbnet_jax.journal import Journal


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """All that the event files hold, in the order of writing: records of a length, its checksum, data, theirs."""
    event_pb2 = importlib.import_module("tensorboardX.proto.event_pb2")  # whose classes no type checker sees
    for path in sorted(folder.glob("events/*tfevents*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)


def test_rows_are_written_as_they_come_under_one_header(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.write("training", 10, {"loss": 0.5, "rate": 1e-4})
        journal.write("training", 20, {"loss": 1 / 3, "rate": 12345678.0})
        journal.write("validation", 20, {"mae": 0.25})
        assert (tmp_path / "training.csv").read_text() == "step,loss,rate\n10,0.5,0.0001\n20,0.333333,1.23457e+07\n"
        assert (tmp_path / "validation.csv").read_text() == "step,mae\n20,0.25\n"


def test_tensorboard_finds_the_same_figures(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.write("training", 10, {"loss": 0.5, "rate": 0.25})
        journal.write("validation", 10, {"mae": 0.125})
    assert list(scalars(tmp_path)) == [
        ("training/loss", 10, 0.5),
        ("training/rate", 10, 0.25),
        ("validation/mae", 10, 0.125),
    ]


def test_a_run_that_goes_on_drops_the_rows_of_steps_that_it_repeats(tmp_path: Path):
    with Journal(tmp_path) as journal:
        for step in (5, 10, 15):
            journal.write("training", step, {"loss": step / 10})
        journal.write("validation", 15, {"mae": 0.5})
    with Journal(tmp_path, step=10) as journal:
        journal.write("training", 15, {"loss": 7.0})
        journal.write("validation", 15, {"mae": 0.75})
    assert (tmp_path / "training.csv").read_text() == "step,loss\n5,0.5\n10,1\n15,7\n"
    assert (tmp_path / "validation.csv").read_text() == "step,mae\n15,0.75\n"


def test_a_row_that_was_cut_short_is_dropped(tmp_path: Path):
    for rest in ("15", "15,0.3,1\n", "\n", "\0\0"):
        (tmp_path / "training.csv").write_text(f"step,loss\n5,0.5\n{rest}")
        with Journal(tmp_path, step=20) as journal:
            journal.write("training", 25, {"loss": 0.25})
        assert (tmp_path / "training.csv").read_text() == "step,loss\n5,0.5\n25,0.25\n"


def test_a_run_that_starts_over_again_and_again_keeps_no_row(tmp_path: Path):
    for _ in range(3):
        with Journal(tmp_path) as journal:
            journal.write("training", 5, {"loss": 0.5})
        Journal(tmp_path).__exit__(None, None, None)
        assert (tmp_path / "training.csv").read_text() == "step,loss\n"


@pytest.mark.parametrize("text", ["image,mae\na,0.5\n", "method,adaptive,step\nBTBNet,0.8,20\n", ""])
def test_tables_of_others_in_the_folder_are_left_alone(tmp_path: Path, text: str):
    (tmp_path / "images.csv").write_text(text)
    with Journal(tmp_path, step=5) as journal:
        journal.write("training", 10, {"loss": 0.5})
    assert (tmp_path / "images.csv").read_text() == text
