"""Reads the event files of a study by the real TensorBoard, and compares them with runs.json; of one under
way those that tasks write, with their metrics.jsonl.

    python check_event_files.py STUDY
"""
import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

TAGS = {
    "loss/train": "trainLoss",
    "loss/validation": "validationLoss",
    "dice/train": "trainDice",
    "dice/validation": "validationDice",
    "learning rate": "learningRate",
}


def check_scalars(events, epochs):
    """Compares the curves with the metrics of the epochs; the number of figures that are alike."""
    figures = 0
    for tag, field in TAGS.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(epoch["epoch"], epoch[field]) for epoch in epochs]
        assert len(found) == len(expected), (tag, found)
        for (step, value), (epoch, truth) in zip(found, expected):
            assert step == epoch and abs(value - truth) <= 1e-6 * max(1, abs(truth)), (tag, step)
            figures += 1
    return figures


def check_under_way(study):
    figures = 0
    tasks = sorted(study.rglob("metrics.jsonl"))
    for metrics in tasks:
        epochs = [json.loads(line) for line in metrics.read_text().splitlines()]
        if not epochs:
            continue  # nothing is trained, or not yet
        events = EventAccumulator(str(metrics.parent)).Reload()
        figures += check_scalars(events, epochs)
        start = parse(events.summary_metadata["_hparams_/session_start_info"]).session_start_info
        print(f"{metrics.parent.relative_to(study)}: {len(epochs)} epochs, "
              f"{len(start.hparams)} hyper-parameters")
    print(f"{figures} figures of {len(tasks)} tasks are as their metrics.jsonl has them")


def main(study):
    if not (study / "runs.json").exists():
        return check_under_way(study)
    figures = 0
    runs = json.loads((study / "runs.json").read_text())
    table = json.loads((study / "table.json").read_text())
    for run in runs:
        if not run["epochs"]:
            continue  # nothing was trained
        name = run["experiment"]["name"]
        events = EventAccumulator(str(study / "tensorboard" / run["part"] / name)).Reload()
        figures += check_scalars(events, run["epochs"])
        plugin = events.summary_metadata
        start = parse(plugin["_hparams_/session_start_info"]).session_start_info
        assert start.hparams["row"].string_value == name
        assert start.hparams["side"].number_value == run["config"]["side"]
        end = parse(plugin["_hparams_/session_end_info"]).session_end_info
        assert end.status == 1
        tests = [tag for tag in events.Tags()["scalars"] if tag.startswith("test dice/")]
        assert tests, events.Tags()
        print(f"{run['part'] or 'study'} {name}: {len(run['epochs'])} epochs, "
              f"{len(start.hparams)} hyper-parameters, {len(tests)} test scores")
    sheet = EventAccumulator(str(study / "tensorboard")).Reload()
    for tag in sheet.Tags()["images"]:
        image = sheet.Images(tag)[0]
        assert image.encoded_image_string[:4] == b"\x89PNG"
        print(f"{tag}: {image.width} x {image.height}, {len(image.encoded_image_string)} bytes")
    print(f"{figures} figures of {len(runs)} trainings are as runs.json has them "
          f"({table['context']['dataset']})")


def parse(found):
    """The data that the hparams plugin keeps in a summary's metadata."""
    content = found.plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


assert metadata.PLUGIN_NAME == "hparams"
main(pathlib.Path(sys.argv[1]))
