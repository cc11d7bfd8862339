"""Adapters of the real peft for tests/adapters/peft.test.ts, and our adapters in the real peft.

    pip install torch==2.5.1 torchvision==0.20.1 peft==0.21.2 transformers==4.57.6 \
        segment-anything==1.0 safetensors==0.8.0
    PYTHONHASHSEED=0 python tests/reference/make_adapter_fixtures.py make
    deno run --allow-all tests/reference/write_adapters.ts FOLDER
    python tests/reference/make_adapter_fixtures.py check FOLDER

`make` writes tests/adapters/fixtures/peft: a folder an adapter as peft saved it, model.json with names
and shapes of a tiny SAM in segment_anything and in transformers, and outputs.safetensors with what
peft computes for every adapted Linear, and, in float64, for the whole image encoder. `check` loads what our code saved into the same models by peft,
compares the outputs and writes the errors to tests/adapters/fixtures/peft/ours_in_peft.txt.

The weights of the models and the inputs are not stored: both sides compute them by `wave`.
"""

import json
import shutil
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from peft import LoHaConfig, LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

warnings.filterwarnings("ignore")
FOLDER = Path(__file__).parent.parent / "adapters" / "fixtures" / "peft"
DIM, SIDE, PATCH, DEPTH, HEADS = 16, 32, 8, 3, 2


def wave(name, shape):
    """Values that both sides compute: a sine whose phase depends on the name."""
    n = int(np.prod(shape))
    phase = sum(map(ord, name)) % 97
    return torch.tensor(0.3 * np.sin(12.9898 * np.arange(1, n + 1) + phase)).float().reshape(shape)


def tiny_sam():
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=SIDE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, mlp_ratio=2,
            out_chans=DIM, qkv_bias=True, use_rel_pos=True, window_size=2, global_attn_indexes=(1,),
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),  # as build_sam has it
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=DIM, image_embedding_size=(4, 4), input_image_size=(SIDE, SIDE), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=DIM,
            transformer=TwoWayTransformer(depth=1, embedding_dim=DIM, num_heads=HEADS, mlp_dim=32),
            iou_head_hidden_dim=DIM,
        ),
    )


def tiny_transformers():
    return SamModel(SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=DIM, output_channels=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
            image_size=SIDE, patch_size=PATCH, window_size=2, global_attn_indexes=[1], mlp_dim=2 * DIM,
            num_pos_feats=DIM // 2,
        ).to_dict(),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=DIM, image_size=SIDE, patch_size=PATCH, mask_input_channels=16
        ).to_dict(),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=DIM, mlp_dim=32, num_hidden_layers=1, num_attention_heads=HEADS,
            iou_head_hidden_dim=DIM,
        ).to_dict(),
    ))


MODELS = {"segment_anything": tiny_sam, "transformers": tiny_transformers}


def build(library):
    model = MODELS[library]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(wave(name, parameter.shape))
    return model.eval()


# name: (library, options of LoraConfig, or of LoHaConfig where the name holds loha)
ADAPTERS = {
    "default": ("segment_anything", dict(r=4, lora_alpha=8, target_modules=["attn.qkv"])),
    "other": ("segment_anything", dict(r=4, lora_alpha=4, target_modules=["qkv", "attn.proj"])),
    "rslora": ("segment_anything", dict(
        r=4, lora_alpha=8, use_rslora=True, lora_dropout=0.1, target_modules=["qkv", "attn.proj", "lin2"])),
    "dora": ("segment_anything", dict(r=2, lora_alpha=4, use_dora=True, target_modules=["qkv", "lin1", "iou_prediction_head.layers.0"])),
    "pissa": ("segment_anything", dict(
        r=4, lora_alpha=2, init_lora_weights="pissa", target_modules=["attn.qkv"])),
    "patterns": ("segment_anything", dict(
        r=4, target_modules=r".*\.blocks\.[02]\.(attn\.(qkv|proj)|mlp\.lin1)",
        rank_pattern={r"blocks\.2\.attn\.qkv": 6, "proj": 2}, alpha_pattern={"lin1": 3, "0.attn.qkv": 5})),
    "layers": ("segment_anything", dict(
        r=3, target_modules=["qkv", "lin1"], layers_to_transform=[1, 2], layers_pattern="blocks",
        exclude_modules=["2.mlp.lin1"])),
    "saved": ("segment_anything", dict(
        r=4, lora_alpha=16, target_modules=["qkv", "q_proj"], modules_to_save=["mask_decoder"])),
    "decoder": ("transformers", dict(
        r=2, target_modules=["q_proj", "v_proj", "out_proj", "lin1", "proj_in"])),
    "transformers": ("transformers", dict(r=4, lora_alpha=8, target_modules=["attn.qkv"])),
    "transformers_saved": ("transformers", dict(
        r=4, use_dora=True, use_rslora=True, target_modules=["qkv", "mlp.lin2"],
        modules_to_save=["mask_decoder"])),
    "loha": ("segment_anything", dict(
        r=4, alpha=6, target_modules=["attn.qkv", "mlp.lin1"], rank_pattern={r"1\.attn\.qkv": 3},
        alpha_pattern={"lin1": 2})),
    "transformers_loha": ("transformers", dict(
        r=2, rank_dropout=0.25, target_modules=["attn.qkv", "q_proj"], modules_to_save=["mask_decoder"])),
}


WITH_GRADIENTS = ["default", "rslora", "dora", "loha"]
# Gradients of LoRA's parameters have short names; others those of the parameters.
SHORT = {"lora_A": "A", "lora_B": "B", "lora_magnitude_vector": "magnitude"}


def config_of(name, options):
    return (LoHaConfig if "loha" in name else LoraConfig)(**options)


def randomise(model, seed):
    """Gives A, B, magnitudes and saved modules values as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "lora_A" in name or "lora_B" in name or "hada_" in name:
                parameter.add_(0.2 * noise)
            elif "lora_magnitude" in name:
                parameter.mul_(1 + 0.2 * noise)
            elif "modules_to_save" in name:
                parameter.add_(0.05 * noise)


def layers(model):
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield name.removeprefix("base_model.model."), module


def outputs(model, gradients):
    """What every adapted Linear makes of its input, and perhaps gradients of a weighted sum of that."""
    result = {}
    for name, module in layers(model):
        x = wave(name, (3, module.in_features)).requires_grad_()
        y = module(x)
        result[f"{name}.y"] = y.detach().clone()
        if not gradients:
            continue
        model.zero_grad()
        (y * wave(name + "!", y.shape)).sum().backward()
        result[f"{name}.dx"] = x.grad.clone()
        for long in module.adapter_layer_names:
            if "default" in getattr(module, long, {}):
                parameter = getattr(module, long)["default"]
                parameter = getattr(parameter, "weight", parameter)
                result[f"{name}.d{SHORT.get(long, long)}"] = parameter.grad.clone()
    return result


def describe(model):
    return {
        "parameters": {name: list(tensor.shape) for name, tensor in model.state_dict().items()},
        "linears": [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)],
    }


def make():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "model.json").write_text(json.dumps({name: describe(build(name)) for name in MODELS}))
    stored = {}
    for seed, (name, (library, options)) in enumerate(ADAPTERS.items()):
        torch.manual_seed(seed)
        model = get_peft_model(build(library), config_of(name, options))
        randomise(model, seed)
        for _, module in layers(model):
            for long in module.adapter_layer_names:
                for parameter in getattr(module, long).parameters() if hasattr(module, long) else []:
                    parameter.requires_grad_()
        model.eval()
        model.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink()
        # As loaded, not as made: PiSSA decomposes again.
        loaded = PeftModel.from_pretrained(build(library), FOLDER / name, is_trainable=True).eval()
        encoder = PeftModel.from_pretrained(build(library), FOLDER / name).eval().base_model.model.double()
        pixels = wave("pixels", (1, 3, SIDE, SIDE)).double()
        with torch.no_grad():
            embedding = (encoder.image_encoder(pixels) if library == "segment_anything"
                         else encoder.vision_encoder(pixels).last_hidden_state)
        stored[f"{name}:embedding"] = embedding.permute(0, 2, 3, 1).float().contiguous()
        stored.update({f"{name}:{key}": value for key, value in outputs(loaded, name in WITH_GRADIENTS).items()})
    summed = PeftModel.from_pretrained(build("segment_anything"), FOLDER / "default", "default")
    summed.load_adapter(FOLDER / "other", "other")
    for kind in ["linear", "cat"]:
        summed.add_weighted_adapter(["default", "other"], [0.7, -0.4], kind, combination_type=kind)
        summed.save_pretrained(FOLDER / "sum", selected_adapters=[kind])
        shutil.move(FOLDER / "sum" / kind, FOLDER / f"sum_{kind}")
    shutil.rmtree(FOLDER / "sum")
    save_file(stored, FOLDER / "outputs.safetensors")


def check(folder):
    lines = []
    for adapter in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
        library = "transformers" if "transformers" in adapter.name else "segment_anything"
        ours = load_file(Path(folder) / f"{adapter.name}.safetensors")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(build(library), adapter).eval()
        assert not caught, [str(warning.message) for warning in caught]
        theirs = {name: module(wave(name, (3, module.in_features))).detach() for name, module in layers(model)}
        assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
        error = max((theirs[name] - ours[name]).abs().max().item() for name in ours)
        size = max(value.abs().max().item() for value in ours.values())
        with torch.no_grad():
            state = {name: value for name, value in model.state_dict().items() if "modules_to_save" in name}
        saved = load_file(adapter / "adapter_model.safetensors")
        kept = 0
        for name, value in state.items():
            original = name.replace("modules_to_save.default.", "")
            assert torch.equal(saved[original].float(), value), name
            kept += 1
        lines.append(
            f"{adapter.name}: {len(ours)} Linears, outputs up to {size:.2f}, largest error {error:.1e}"
            + (f", {kept} saved tensors equal" if kept else ""))
        assert error < 2e-6, lines[-1]
    text = "python tests/reference/make_adapter_fixtures.py check FOLDER\n" + "\n".join(lines) + "\n"
    (FOLDER / "ours_in_peft.txt").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    make() if sys.argv[1] == "make" else check(sys.argv[2])
