"""Trains a 2D U-Net as nnU-Net configures it, on the CPU, on the slices of one part of a study, and writes its masks of
the test slices for score_masks.ts:

    deno run -A export_slices.ts STUDY --part PART --data DIR --out FOLDER
    python nnunet_2d.py FOLDER --hours 6 --out PART.masks.json.gz
    deno run -A score_masks.ts STUDY PART.masks.json.gz --data DIR

Plans, preprocessing, network, augmentation, loss (Dice and cross-entropy) and optimizer are nnU-Net's own. Training
ends once nnU-Net's moving average of the inner validation Dice has not risen for --patience epochs, or when the CPU
hours, those of all threads together, are over; the learning rate decays over them. The checkpoint of the best average
is used. Runs with requirements.txt beside this file, on Python 3.11; a third faster where glibc keeps its memory
(MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ of gigabytes).
"""
import argparse
import gzip
import json
import os
import pathlib
import shutil
import time

NAME = "Dataset001_Peer"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="as export_slices.ts has written it")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--hours", type=float, default=6, help="of CPU time")
    parser.add_argument("--patience", type=int, default=30, help="epochs without a better average")
    parser.add_argument("--iterations", type=int, default=50, help="steps an epoch; nnU-Net's own are 250")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def prepare(folder):
    """Plans and preprocesses, and puts the study's split in place."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints, plan_experiments, preprocess)
    extract_fingerprints([1], num_processes=1, check_dataset_integrity=True)
    plans = plan_experiments([1])
    preprocess([1], plans or "nnUNetPlans", configurations=("2d",), num_processes=(1,))
    shutil.copy(folder / "splits_final.json", folder / "preprocessed" / NAME / "splits_final.json")


class DecayOverTime:
    """nnU-Net's polynomial decay of the learning rate, over the CPU time that there is instead of over epochs."""

    def __init__(self, optimizer, initial, share):
        self.optimizer, self.initial, self.share = optimizer, initial, share

    def step(self, _epoch=None):
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial * max(0.0, 1 - self.share()) ** 0.9


def train(folder, limit, patience, iterations):
    """Trains until the average stalls or the time is over; returns its folder, CPU hours and curve."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    base = folder / "preprocessed" / NAME
    plans = json.loads((base / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    dataset = json.loads((base / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, "2d", 0, dataset, device=torch.device("cpu"))
    trainer.num_iterations_per_epoch = iterations
    trainer.num_val_iterations_per_epoch = max(5, iterations // 5)
    trainer.disable_checkpointing = False
    start = time.process_time()
    spent = lambda: time.process_time() - start
    trainer.on_train_start()
    trainer.lr_scheduler = DecayOverTime(trainer.optimizer, trainer.initial_lr, lambda: spent() / limit)
    curve, best, since = [], -1.0, 0
    for epoch in range(trainer.num_epochs):
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        outputs = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(iterations)]
        trainer.on_train_epoch_end(outputs)
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            steps = range(trainer.num_val_iterations_per_epoch)
            found = [trainer.validation_step(next(trainer.dataloader_val)) for _ in steps]
            trainer.on_validation_epoch_end(found)
        figures = {name: trainer.logger.get_value(name, -1)
                   for name in ("train_losses", "mean_fg_dice", "ema_fg_dice")}
        curve.append({"epoch": epoch + 1, "trainLoss": float(figures["train_losses"]),
                      "validationDice": float(figures["mean_fg_dice"])})
        trainer.on_epoch_end()
        since = 0 if figures["ema_fg_dice"] > best else since + 1
        best = max(best, figures["ema_fg_dice"])
        if since >= patience or spent() * (epoch + 2) / (epoch + 1) > limit:
            break
    hours = spent() / 3600
    output = pathlib.Path(trainer.output_folder)
    if not (output / "checkpoint_final.pth").exists():
        trainer.save_checkpoint(str(output / "checkpoint_final.pth"))
    return output, hours, curve


def segment(folder, output):
    """Masks of the test slices, [rows, columns] each, by the names of their files."""
    import nibabel
    import numpy
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    best = "checkpoint_best.pth" if (output / "checkpoint_best.pth").exists() else "checkpoint_final.pth"
    predictor.initialize_from_trained_model_folder(str(output.parent), (0,), best)
    predicted = folder / "predicted"
    predicted.mkdir(exist_ok=True)
    predictor.predict_from_files_sequential(
        str(folder / NAME / "imagesTs"), str(predicted), overwrite=True)
    return {path.name.removesuffix(".nii.gz"):
            numpy.asarray(nibabel.load(path).dataobj)[..., 0].T for path in predicted.glob("*.nii.gz")}


def run_lengths(mask):
    """Lengths of runs down the columns, zeros first, as COCO writes a mask."""
    import numpy
    flat = (numpy.asarray(mask) > 0).astype(numpy.int8).flatten(order="F")
    edges = numpy.flatnonzero(numpy.diff(flat)) + 1
    bounds = numpy.concatenate([[0], edges, [flat.size]])
    counts = numpy.diff(bounds).tolist()
    return {"size": list(mask.shape), "counts": ([0] if flat[0] else []) + counts}


def main():
    options = arguments()
    folder = options.folder.resolve()
    os.environ["nnUNet_raw"] = str(folder)
    os.environ["nnUNet_preprocessed"] = str(folder / "preprocessed")
    os.environ["nnUNet_results"] = str(folder / "results")
    os.environ["nnUNet_compile"] = "false"
    os.environ["nnUNet_n_proc_DA"] = "1"  # the planner refuses 0
    prepare(folder)
    os.environ["nnUNet_n_proc_DA"] = "0"  # slices are augmented in this process
    import torch
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    output, hours, curve = train(folder, 3600 * options.hours, options.patience, options.iterations)
    names = json.loads((folder / "slices.json").read_text())
    masks = segment(folder, output)
    content = {
        "model": "nnU-Net 2D U-Net",
        "hours": hours,
        "curve": curve,
        "masks": [{"id": names[name], **run_lengths(mask)} for name, mask in sorted(masks.items())],
    }
    options.out.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))
    print(f"{len(curve)} epochs in {hours:.2f} CPU hours; {len(masks)} masks in {options.out}")


if __name__ == "__main__":
    main()
