"""Writes tests/formats/fixtures and, of the names, tests/sam/fixtures: files that torch.save wrote, and the names of SAM's tensors.

Usage: python make_torch_fixtures.py OUT
Needs torch (2.5.1), segment-anything (1.0), transformers (4.57.1) with Pillow and requests, and timm.
convert_sam_to_hf.py is not in transformers' newer wheels: take it from 4.40.0. MobileSAM's package
`mobile_sam` is in no index: put its repository on PYTHONPATH.

Every tensor holds 0, 1, 2, ... in the order of its elements, halved and less 3 where the type allows,
so that the test knows what to expect. names.json holds, for a tiny SAM, each official name with its
shape and the name that transformers' own converter gives it, and the names of MobileSAM's checkpoint.
"""
import collections
import io
import json
import os
import sys
import zipfile

import torch

OUT = sys.argv[1]


def count(*shape, dtype=torch.float32):
    values = torch.arange(torch.Size(shape).numel()).reshape(shape)
    return (values * 0.5 - 3).to(dtype) if dtype.is_floating_point else values.to(dtype)


def state_dict():
    base = count(4, 6)
    state = collections.OrderedDict(
        f32=count(2, 3),
        f64=count(2, 3, dtype=torch.float64),
        f16=count(2, 3, dtype=torch.float16),
        bf16=count(2, 3, dtype=torch.bfloat16),
        i64=count(5, dtype=torch.int64),
        i32=count(5, dtype=torch.int32),
        i16=count(5, dtype=torch.int16),
        i8=count(5, dtype=torch.int8),
        u8=count(5, dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        scalar=torch.tensor(7.0),
        empty=torch.empty(0, 4),
        parameter=torch.nn.Parameter(count(3)),
        base=base,
        transposed=base.t(),
        window=base[1:3, ::2],
        last=base.reshape(-1)[20:],
        expanded=count(4).expand(3, 4),
        channels_last=count(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    )
    state._metadata = collections.OrderedDict(x={"version": 1})
    return state


def path(name):
    return os.path.join(OUT, name)


def repack(name, compression, change=lambda name, data: data, extra=()):
    """The zip of `state_dict()` with other contents or compression."""
    buffer = io.BytesIO()
    torch.save(state_dict(), buffer)
    source = zipfile.ZipFile(buffer)
    with zipfile.ZipFile(path(name), "w", compression) as target:
        for entry in source.namelist():
            if entry.endswith("byteorder") and extra:
                continue
            target.writestr(entry, change(entry, source.read(entry)))
        for entry, data in extra:
            target.writestr(entry, data)


class System:
    def __reduce__(self):
        return os.system, ("touch /tmp/samlora_was_here",)


def torch_files():
    state = state_dict()
    torch.save(state, path("zip.pth"))
    torch.save(state, path("protocol4.pth"), pickle_protocol=4)
    torch.save(state, path("legacy.pth"), _use_new_zipfile_serialization=False)
    repack("deflated.pth", zipfile.ZIP_DEFLATED)

    sizes = {"f64": 8, "i64": 8, "f16": 2, "bf16": 2, "i16": 2, "i8": 1, "u8": 1, "bool": 1}
    order = list(dict.fromkeys(
        tensor.untyped_storage().data_ptr() for tensor in state.values()))
    size_of = {}
    for name, tensor in state.items():
        key = order.index(tensor.untyped_storage().data_ptr())
        size_of.setdefault(str(key), sizes.get(name, 4))

    def swap(entry, data):
        folder, key = entry.split("/")[-2:]
        if folder != "data" or not data:
            return data
        size = size_of[key]
        return b"".join(data[i:i + size][::-1] for i in range(0, len(data), size))

    repack("big_endian.pth", zipfile.ZIP_STORED, swap, [("archive/byteorder", b"big")])

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model.weight.copy_(count(2, 3))
        model.bias.copy_(count(2))
    rest = {
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "loss": [0.5, None, 1 << 70],
        "config": {"device": torch.device("cpu"), "dtype": torch.float32, "size": torch.Size([1, 2])},
    }
    torch.save({**rest, "model": model.state_dict()}, path("checkpoint.pth"))
    torch.save({"a": model.state_dict(), "b": model.state_dict()}, path("two_models.pth"))
    torch.save({"epoch": 3}, path("no_tensors.pth"))
    torch.save(model, path("module.pth"))
    torch.save({"weight": count(3), "x": System()}, path("system.pth"))
    torch.save({"weight": count(3), "x": System()}, path("system_legacy.pth"),
               _use_new_zipfile_serialization=False)


def mobile_sam_part():
    """A convolution with its BatchNorm and an attention of TinyViT, and what they come to."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    conv, bn = "image_encoder.patch_embed.seq.0.c", "image_encoder.patch_embed.seq.0.bn"
    state = {
        f"{conv}.weight": random(4, 3, 3, 3),
        f"{bn}.weight": random(4),
        f"{bn}.bias": random(4),
        f"{bn}.running_mean": random(4),
        f"{bn}.running_var": random(4).square() + 1e-4,
        f"{bn}.num_batches_tracked": torch.tensor(9),
        "image_encoder.layers.1.blocks.0.attn.attention_biases": random(2, 9),
        "image_encoder.norm_head.weight": random(4),
        "image_encoder.head.bias": random(4),
    }
    doubles = {name: tensor.double() for name, tensor in state.items()}
    weight, bias = torch.nn.utils.fusion.fuse_conv_bn_weights(
        doubles[f"{conv}.weight"], None, doubles[f"{bn}.running_mean"],
        doubles[f"{bn}.running_var"], 1e-5, doubles[f"{bn}.weight"], doubles[f"{bn}.bias"])
    from mobile_sam.modeling.tiny_vit_sam import Attention
    attention = Attention(8, 4, 2, attn_ratio=1, resolution=(3, 3))
    biases = state["image_encoder.layers.1.blocks.0.attn.attention_biases"]
    expected = {
        "image_encoder.patch_embed.seq.0.weight": weight.float(),
        "image_encoder.patch_embed.seq.0.bias": bias.float(),
        "image_encoder.layers.1.blocks.0.attn.attention_bias_full":
            biases[:, attention.attention_bias_idxs],
    }
    torch.save(state, path("mobile_sam_part.pth"))
    torch.save(expected, path("mobile_sam_part_expected.pth"))


def names():
    from functools import partial
    from mobile_sam import sam_model_registry
    from segment_anything import modeling
    from transformers import SamConfig, SamModel
    from transformers.models.sam.convert_sam_to_hf import replace_keys

    sam = modeling.Sam(
        modeling.ImageEncoderViT(
            img_size=64, embed_dim=16, depth=2, num_heads=2, out_chans=8, qkv_bias=True,
            use_rel_pos=True, window_size=3, global_attn_indexes=[1],
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6)),
        modeling.PromptEncoder(8, (4, 4), (64, 64), mask_in_chans=16),
        modeling.MaskDecoder(
            transformer_dim=8, num_multimask_outputs=3, iou_head_depth=3, iou_head_hidden_dim=8,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=8, num_heads=2, mlp_dim=16)))
    official = sam.state_dict()
    renamed = {name: list(replace_keys({name: torch.zeros(1)} | {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": torch.zeros(1)}))[0]
        for name in official}
    hf = SamModel(SamConfig(
        vision_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 64, "window_size": 3, "global_attn_indexes": [1],
                       "output_channels": 8, "mlp_dim": 64, "num_pos_feats": 4},
        prompt_encoder_config={"hidden_size": 8, "image_size": 64, "image_embedding_size": 4},
        mask_decoder_config={"hidden_size": 8, "mlp_dim": 16, "num_attention_heads": 2,
                             "iou_head_hidden_dim": 8})).state_dict()
    assert set(renamed.values()) | {"shared_image_embedding.positional_embedding"} == set(hf), (
        set(renamed.values()) ^ set(hf))
    mobile = sam_model_registry["vit_t"]().state_dict()
    content = {
        "sam": [[name, list(tensor.shape), renamed[name]] for name, tensor in official.items()],
        "mobile_sam": {name: list(tensor.shape) for name, tensor in mobile.items()},
    }
    with open(path("names.json"), "w") as file:
        json.dump(content, file, separators=(",", ":"))
        file.write("\n")


os.makedirs(OUT, exist_ok=True)
torch_files()
mobile_sam_part()
names()
