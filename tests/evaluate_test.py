import dataclasses
import json
from pathlib import Path

import jax
import pytest

from btbnet_jax.checkpoints import Checkpoints, find, read
from btbnet_jax.initial import weights_of
from btbnet_jax.network import init_params
from btbnet_jax.sources import shi
from btbnet_jax.weights import Weights, save_weights
from tests.script_calls import Call, table
from tests.small_runs import CONFIG
from tests.small_sets import build_pairs, half_in_focus


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has not learnt anything."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    params = init_params(jax.random.key(0), CONFIG.network)
    average = jax.tree.map(lambda leaf: 2 * leaf, params)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(6, {"params": params, "average": average}, {"config": CONFIG.to_json()}, metric=0.5)
    return folder


def test_flags_without_dashes_are_not_passed_over_in_an_evaluation(evaluate: Call):
    status, _, errors = evaluate("run=r", "--split=validation")
    assert (status, errors) == (1, "evaluate.py: flags begin with --; what are run=r?")


def test_an_output_folder_that_cannot_be_written_is_named_before_the_work(evaluate: Call, tmp_path: Path):
    (tmp_path / "file").touch()
    status, _, errors = evaluate("--run=absent", "--output=file/out")
    expected = "evaluate.py: cannot write into file/out: Not a directory; choose another folder"
    assert (status, errors) == (1, expected)


def test_an_evaluation_that_is_refused_leaves_no_folder(evaluate: Call, tmp_path: Path):
    status, _, errors = evaluate("--run=absent", "--output=new/out")
    assert (status, "there is no run, no checkpoint and no file absent" in errors) == (1, True), errors
    assert not (tmp_path / "new").exists()
    status, _, errors = evaluate("--run=absent", "--output=")
    assert (status, "give the folder for tables, curves and pictures: --output=" in errors) == (1, True), errors


@pytest.mark.parametrize("split", ["test", "test[:2]", "train+test[:1]"])
def test_a_look_at_test_images_has_to_be_the_final_one(evaluate: Call, run: Path, tmp_path: Path, split: str):
    status, _, errors = evaluate(f"--run={run}", f"--split={split}")
    assert status == 1
    assert "evaluate on --split=validation, or add --final, which logs this look in results/test_log.csv" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_trained_on_test_images_has_its_validation_images_among_them(
    evaluate: Call, tmp_path_factory: pytest.TempPathFactory
):
    data = dataclasses.replace(CONFIG.data, split="test", validation="1")
    folder = tmp_path_factory.mktemp("runs") / "cheat"
    params = init_params(jax.random.key(0), CONFIG.network)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(6, {"params": params}, {"config": dataclasses.replace(CONFIG, data=data).to_json()})
    status, _, errors = evaluate(f"--run={folder}", "--split=validation")
    assert (status, "add --final" in errors) == (1, True), errors


def test_a_log_that_cannot_be_added_to_is_refused_before_the_work(evaluate: Call, run: Path, tmp_path: Path):
    (tmp_path / "log.csv").write_text("date\n")
    status, _, errors = evaluate(f"--run={run}", "--split=test", "--final", "--test_log=log.csv")
    assert (status, "log.csv has the columns ['date']" in errors) == (1, True), errors
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_a_final_look_is_logged_with_the_digest_of_the_weights_each_time(
    evaluate: Call, run: Path, white_maps: dict[str, Path], tmp_path: Path
):
    arguments = [f"--run={run}", "--split=test", "--final", f"--maps=masks={white_maps['right']}"]
    for _ in range(2):
        status, output, errors = evaluate(*arguments, "--test_log=results/log.csv")
        assert (status, "pairs/small, test, 3 images" in output) == (0, True), errors
    rows = table(tmp_path / "results" / "log.csv")
    assert [(row["method"], row["params_sha256"]) for row in rows] == [
        ("run", read(find(run)[0]).digests["average"]),
        ("masks", "none"),
    ] * 2
    what = {(row["data"], row["split"], row["size"], row["positive"], row["mask_threshold"]) for row in rows}
    assert what == {("pairs/small", "test", "16", "focus", "")}
    scores = {row["method"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["scores"]}
    assert [row["adaptive"] for row in rows[:2]] == [f"{scores[name]['adaptive']:.4f}" for name in ("run", "masks")]
    assert scores["masks"]["mae"] == 0


def test_a_weights_file_scores_as_the_run_that_it_was_made_of(evaluate: Call, run: Path, tmp_path: Path):
    save_weights(tmp_path / "file.safetensors", weights_of(run, licence=""))
    status, _, errors = evaluate(f"--run=run={run}", "--run=file=file.safetensors", "--baselines=")
    assert (status, errors) == (0, "")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    of_run, of_file = ({**row, "method": ""} for row in results["scores"])
    assert of_run == of_file
    assert results["params_sha256"]["file"] == read(find(run)[0]).digests["average"]


def test_a_network_without_a_name_is_called_as_its_folder_or_file_is(evaluate: Call, run: Path, tmp_path: Path):
    save_weights(tmp_path / "file.v2.safetensors", weights_of(run, licence=""))
    for entry, name in ((run, "run"), ("file.v2.safetensors", "file.v2")):
        status, _, errors = evaluate(f"--run={entry}", "--baselines=", f"--output={name}")
        assert (status, errors) == (0, "")
        scores = json.loads((tmp_path / name / "results.json").read_text())["scores"]
        assert [row["method"] for row in scores] == [name]


def test_another_evaluation_is_not_replaced(evaluate: Call, run: Path, tmp_path: Path):
    arguments = [f"--run={run}", "--baselines="]
    assert evaluate(*arguments)[0] == evaluate(*arguments, "--batch_size=1")[0] == 0
    before = (tmp_path / "out" / "results.json").read_bytes()
    status, _, errors = evaluate(*arguments, "--size=8")
    changes = "out holds an evaluation with other flags (then -> now):\n- size: None -> 8\n"
    assert (status, changes in errors) == (1, True)
    assert (tmp_path / "out" / "results.json").read_bytes() == before


def test_a_network_is_scored_in_bfloat16_where_that_is_asked_for(evaluate: Call, run: Path, tmp_path: Path):
    found = []
    for flag, folder in (("--nohalf", "whole"), ("--half", "half")):
        status, _, errors = evaluate(f"--run={run}", "--baselines=", flag, f"--output={folder}")
        assert (status, errors) == (0, "")
        found.append(json.loads((tmp_path / folder / "results.json").read_text()))
    assert [one["configs"]["run"]["network"]["dtype"] for one in found] == ["float32", "bfloat16"]
    assert 0 < abs(found[0]["scores"][0]["mae"] - found[1]["scores"][0]["mae"]) < 0.02


def test_only_what_beats_the_baselines_passes_where_it_must(evaluate: Call, white_maps: dict[str, Path]):
    arguments = ["--data=pairs/small", "--split=train", "--size=0", "--must_beat_baselines"]
    status, output, errors = evaluate(*arguments, f"--maps=right={white_maps['right']}")
    assert (status, errors, "their own sizes" in output) == (0, "", True)
    status, output, errors = evaluate(*arguments, f"--maps=wrong={white_maps['wrong']}", "--output=wrong")
    assert (status, "wrong " in output) == (1, True)
    expected = (
        "evaluate.py: the adaptive F of wrong does not beat that of all_blurred, all_in_focus, laplacian_variance"
    )
    assert errors == expected


def test_missing_maps_are_named(evaluate: Call, tmp_path: Path):
    (tmp_path / "train0.png").touch()
    status, _, errors = evaluate("--data=pairs/small", "--split=train", f"--maps=mine={tmp_path}")
    assert status == 1
    assert "7 of 8 maps are missing: train1, train2" in errors
    assert "train0.png: an empty file" in errors  # all that is wrong at once


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run=absent"], "there is no run, no checkpoint and no file absent"),
        (["--data=pairs/small", "--split=train"], "nothing to score: give --run, or --maps=NAME=FOLDER"),
        (["--data=pairs/small", "--split=train", "--maps=mine"], "give NAME=FOLDER, with a name that no other"),
        (["--run=lbp=absent"], "--run=lbp=absent: give NAME=FOLDER, with a name that no other method has"),
        (["--masks=absent", "--maps=mine=."], "absent cannot be scored by:\n- absent is not a folder"),
        (["--data=pairs/small", "--split=train", "--mask_threshold=2"], "flag --mask_threshold=2"),
        (["--data=pairs/small", "--split=train", "--maps=x=MAPS", "--baselines=best"], "no baseline is called best"),
        (["--data=pairs/small", "--split=train", "--maps=all_blurred=."], "with a name that no other method has"),
        (["--data=pairs/small", "--split=train", "--maps=mine=absent"], "no maps in absent:\n- it is not a folder"),
        (["--data=pairs/small", "--split=dev"], "no split 'dev'; it has test, train, and \"validation\" is what a run"),
        (["--data=nosuch", "--maps=x=MAPS"], "no data set 'nosuch' is built"),
        (["--run=RUN", "--data=nosuch"], "no data set 'nosuch' is built"),
        (["--data=dut", "--split=train"], "no data set 'dut' is built"),
        (["--batch_size=0"], "flag --batch_size=0"),
        (
            ["--data=pairs/small", "--maps=x=MAPS"],
            "no list of validation images is known for pairs/small: give --split",
        ),
        (["--images=absent", "--data=pairs/small"], "--images has no effect without --masks"),
        (["--nopolarity_check", "--data=pairs/small"], "--polarity_check has no effect without --masks"),
        (["--masks=MAPS", "--split=test", "--maps=x=MAPS"], "--split has no effect beside --masks"),
        (
            ["--masks=MAPS", "--maps=x=MAPS", "--size=0", "--baselines=lbp"],
            "lbp need the images of --masks: give --images",
        ),
        (["--run=RUN", "--resize_maps"], "--resize_maps has no effect without --maps"),
        (["--run=RUN", "--size=0", "--batch_size=2"], "--batch_size has no effect where images keep their own sizes"),
    ],
)
def test_what_cannot_be_evaluated_is_named_and_leaves_nothing(
    evaluate: Call, run: Path, white_maps: dict[str, Path], tmp_path: Path, arguments: list[str], words: str
):
    paths = {"=MAPS": f"={white_maps['right']}", "=RUN": f"={run}"}
    for short, path in paths.items():
        arguments = [argument.replace(short, path) for argument in arguments]
    status, _, errors = evaluate(*arguments)
    assert (status, words in errors) == (1, True), errors
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_held_out_is_of_its_own_data_set(evaluate: Call, run: Path, tmp_path: Path):
    build_pairs(tmp_path, "other", {f"{number}": half_in_focus(number) for number in range(2)})
    status, _, errors = evaluate(f"--run={run}", "--data=pairs/other", f"--data_dir={tmp_path}")
    assert (status, "is not the same, or not of pairs/other: give --split" in errors) == (1, True), errors


def test_shis_committed_list_holds_out_the_same_images_wherever_a_run_had_them_from(evaluate: Call, tmp_path: Path):
    build_pairs(tmp_path, "shi_train", dict.fromkeys([*shi.VALIDATION, "another"], half_in_focus(0, (16, 16))))
    data = dataclasses.replace(CONFIG.data, name="pairs/shi_train", validation="shi60", size=16)
    config = dataclasses.replace(CONFIG, data=data)
    params = init_params(jax.random.key(0), CONFIG.network)
    save_weights(tmp_path / "w.safetensors", Weights(params, CONFIG.network, {"config": config.to_json()}, ""))
    arguments = ["--run=w.safetensors", f"--data_dir={tmp_path}", "--baselines="]
    assert evaluate(*arguments)[0] == 0
    own = json.loads((tmp_path / "out" / "results.json").read_text())
    (tmp_path / "pairs" / "shi_train").rename(tmp_path / "shi")  # where Shi's set has its place
    assert evaluate(*arguments, "--data=shi", "--output=other")[0] == 0
    other = json.loads((tmp_path / "other" / "results.json").read_text())
    assert (own["images_sha256"], own["scores"]) == (other["images_sha256"], other["scores"])


def test_test_images_are_known_in_any_set(evaluate: Call, run: Path, tmp_path: Path):
    build_pairs(tmp_path, "other", {shi.TEST[0]: half_in_focus(0)})
    status, _, errors = evaluate(f"--run={run}", "--data=pairs/other", "--split=train", f"--data_dir={tmp_path}")
    assert (status, "a test split is for the last figure" in errors) == (1, True), errors


@pytest.mark.parametrize("size", [0, 16])
def test_the_maps_of_a_run_score_the_same_when_they_are_read_again(
    evaluate: Call, run: Path, tmp_path: Path, size: int
):
    arguments = ["--data=pairs/small", "--split=train", f"--size={size}"]
    status, _, errors = evaluate(*arguments, f"--run={run}", "--save_maps")
    assert status == 0, errors
    assert (tmp_path / "out" / "differing.png").exists()  # from the best baseline
    first = json.loads((tmp_path / "out" / "results.json").read_text())["scores"][0]
    status, _, errors = evaluate(*arguments, "--maps=maps=out/maps/run", "--output=again")
    assert status == 0, errors
    again = json.loads((tmp_path / "again" / "results.json").read_text())["scores"][0]
    assert {**first, "method": "maps"} == again


def test_several_runs_stand_side_by_side_under_their_names(evaluate: Call, run: Path, tmp_path: Path):
    status, output, errors = evaluate(f"--run=one={run}", f"--run=two={run}", "--baselines=lbp", "--mask_threshold=0.5")
    assert (status, "validation, 2 images" in output) == (0, True), errors
    values = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["method"] for row in values["scores"]] == ["one", "two", "lbp"]
    assert values["differences"]["two"]["adaptive"] == {"figure": 0, "low": 0, "high": 0}
    assert (tmp_path / "out" / "differing.png").exists()


def test_what_is_called_positive_changes_what_the_protocols_score(
    evaluate: Call, white_maps: dict[str, Path], tmp_path: Path
):
    arguments = ["--data=pairs/small", "--split=train", "--size=0", f"--maps=right={white_maps['right']}"]
    found = []
    for positive in ("focus", "blur"):
        status, _, errors = evaluate(*arguments, f"--positive={positive}", f"--output={positive}")
        assert status == 0, errors
        scores = json.loads((tmp_path / positive / "results.json").read_text())["scores"]
        found.append({row["method"]: row["focus_at_half"] for row in scores})
    assert found[0]["all_in_focus"] > 0 == found[0]["all_blurred"]
    assert found[1]["all_blurred"] > 0 == found[1]["all_in_focus"]
