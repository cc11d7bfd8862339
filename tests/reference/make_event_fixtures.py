"""Writes tests/formats/fixtures/events.json: event files by TensorBoard's own messages and record writer.

    pip install tensorboard "setuptools<81"
    python tests/reference/make_event_fixtures.py
"""

import io
import json
import pathlib

from google.protobuf import struct_pb2
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

PNG = bytes(range(40))
HYPER_PARAMETERS = {"learningRate": 0.003, "model": "mobile_sam", "earlyStopping": False}


def hparams(tag, **info):
    value = summary_pb2.Summary.Value(tag=tag, tensor=metadata.NULL_TENSOR)
    value.metadata.plugin_data.plugin_name = "hparams"
    content = plugin_data_pb2.HParamsPluginData(**info)
    value.metadata.plugin_data.content = content.SerializeToString(deterministic=True)
    return value


def record(event):
    stream = io.BytesIO()
    RecordWriter(stream).write(event.SerializeToString(deterministic=True))
    return stream.getvalue().hex()


def summary(time, step, *values):
    return event_pb2.Event(
        wall_time=time, step=step, summary=summary_pb2.Summary(value=values)
    )


def start(name, value):
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=1.5)
    info.hparams[name].CopyFrom(
        struct_pb2.Value(bool_value=value)
        if isinstance(value, bool)
        else struct_pb2.Value(number_value=value)
        if isinstance(value, float)
        else struct_pb2.Value(string_value=value)
    )
    return record(
        summary(1.5, 0, hparams("_hparams_/session_start_info", session_start_info=info))
    )


fixtures = {
    "head": record(event_pb2.Event(wall_time=1.5, file_version="brain.Event:2")),
    "scalars": record(
        summary(
            1796000000.25,
            300,
            summary_pb2.Summary.Value(tag="loss/train", simple_value=0.125),
            summary_pb2.Summary.Value(tag="dice", simple_value=0.0),
        )
    ),
    "image": record(
        summary(
            2.0,
            1,
            summary_pb2.Summary.Value(
                tag="contact sheet",
                image=summary_pb2.Summary.Image(
                    width=640, height=3, colorspace=3, encoded_image_string=PNG
                ),
            ),
        )
    ),
    "end": record(
        summary(
            3.0,
            2,
            hparams(
                "_hparams_/session_end_info",
                session_end_info=plugin_data_pb2.SessionEndInfo(status=1, end_time_secs=3.0),
            ),
        )
    ),
    # A map has no order: one entry each.
    "start": {name: start(name, value) for name, value in HYPER_PARAMETERS.items()},
}
path = pathlib.Path(__file__).parent.parent / "formats" / "fixtures" / "events.json"
path.write_text(json.dumps(fixtures, indent=2) + "\n")
