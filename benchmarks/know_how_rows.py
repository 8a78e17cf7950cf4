"""What `know_how.py` compares: the baselines, and what each row of the tables does otherwise."""


def part(path, **settings):
    return {"class_path": path, "init_args": settings}


FLIP = part("albumentations.HorizontalFlip")
CROSS_ENTROPY = part("seg.losses.CrossEntropy")


def callback(path, **settings):
    return {"trainer.callbacks+": [part(path, **settings)]}


def total(**terms):
    return part("seg.losses.Sum", terms={"ce": CROSS_ENTROPY, **terms})


def adamw(lr, decay):
    return part("torch.optim.AdamW", lr=lr, weight_decay=decay)


BASELINES = {
    "camvid": {
        "model": {
            "net": part("seg.models.UNet", width=8, upsampling="bilinear"),
            "loss": CROSS_ENTROPY,
            "optimizer": adamw(0.003, 0.05),
            "schedule": part("seg.schedules.Cosine", warmup=0.05),
        },
        "data": part(
            "seg.data.CamVid",
            resize=[180, 240],
            augment=[part("seg.data.transforms.RandomScaleCrop", height=180, width=240, scale=[0.75, 2.0]), FLIP],
            batch_size=4,
        ),
    },
    "shapes": {
        "model": {
            "net": part("seg.models.UNet", width=8),
            "loss": CROSS_ENTROPY,
            "optimizer": adamw(0.003, 0.05),
            "schedule": part("seg.schedules.Cosine", warmup=0.05),
        },
        "data": part(
            "seg.data.Shapes", augment=[part("albumentations.RandomCrop", height=96, width=96), FLIP], batch_size=8
        ),
    },
}
"""What every row starts from: cross-entropy, AdamW, cosine with warm-up, crops and flips."""
BEFORE = {
    "a teacher of twice the width": (4, None, {"model.net.width": 16}),
    "the baseline on Shapes": (1, "shapes", {"model.net.upsampling": "bilinear"}),
}
"""Runs that rows build on: how many times the rows' time they take, their data set if another, and their settings."""
UNCHANGED = {
    "camvid": [],
    "shapes": [part("albumentations.CenterCrop", height=96, width=96)],
}
"""What makes images of one size, as a batch needs them, and nothing else: those of Shapes are of several."""
CHOSEN_CROP = {
    "camvid": {},
    "shapes": {
        "data.augment": [part("seg.data.transforms.RandomScaleCrop", height=96, width=96, scale=[1.0, 1.0]), FLIP]
    },
}
"""The crop that can choose its window, where the baseline takes another."""
RARE = {"camvid": ["Pole", "SignSymbol", "Pedestrian", "Bicyclist"], "shapes": ["ring", "cross", "heart"]}


def tricks(data):
    """Return row -> settings that differ from the baseline's; a name that ends in + adds to a list.

    A value that is a key of BEFORE stands for the checkpoint of that run.
    """
    lr, batch = (
        BASELINES[data]["model"]["optimizer"]["init_args"]["lr"],
        BASELINES[data]["data"]["init_args"]["batch_size"],
    )
    rows = {
        "baseline": {},
        "no warm-up": {"model.schedule": part("seg.schedules.Cosine")},
        "poly 0.9": {"model.schedule": part("seg.schedules.Poly", warmup=0.05)},
        "constant rate": {"model.schedule": part("seg.schedules.Constant", warmup=0.05)},
        "SGD, Nesterov, rate 0.05": {
            "model.optimizer": part("torch.optim.SGD", lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.0005)
        },
        "no weight decay": {"model.optimizer": adamw(lr, 0.0)},
        "weight decay on norms too": {"model.decay_norms": True},
        "gradients clipped at 1": {"trainer.gradient_clip_val": 1.0},
        "rate tripled": {"model.optimizer": adamw(3 * lr, 0.05)},
        "rate a third": {"model.optimizer": adamw(lr / 3, 0.05)},
        "batch × 2": {"data.batch_size": 2 * batch},
        "batch × 2, rate × 2": {"data.batch_size": 2 * batch, "model.optimizer": adamw(2 * lr, 0.05)},
        "label smoothing 0.1": {"model.loss": part("seg.losses.CrossEntropy", label_smoothing=0.1)},
        "class weights, 1/√frequency": {
            "model.loss": part("seg.losses.CrossEntropy", class_weights="inverse_square_root")
        },
        "Focal γ = 2": {"model.loss": part("seg.losses.Focal")},
        "cross-entropy + Dice": {"model.loss": total(dice=part("seg.losses.Dice"))},
        "cross-entropy + Lovász": {"model.loss": total(lovasz=part("seg.losses.Lovasz"))},
        "class-balanced sampling": {"data.sampling": "balanced"},
        "half the crops hold a rare class": {"data.rare_crops": 0.5, **CHOSEN_CROP[data]},
        "no augmentation": {"data.augment": UNCHANGED[data]},
        "colour jitter too": {"data.augment+": [part("seg.data.transforms.FastColorJitter")]},
        "multi-scale 0.75 to 1.25": {"data.multi_scale": [0.75, 1.0, 1.25]},
        "MixUp": {"model.mixing": part("seg.mixing.MixUp")},
        "CutMix": {"model.mixing": part("seg.mixing.CutMix")},
        "RICAP": {"model.mixing": part("seg.mixing.RICAP")},
        "copy-paste of rare classes": {"model.mixing": part("seg.mixing.CopyPaste", classes=RARE[data])},
    }
    rows |= {
        "one-cycle": {"model.schedule": part("seg.schedules.OneCycle")},
        "averaged weights (EMA)": callback("seg.averaging.EMA"),
        "flooding at 0.1": {"model.flood": 0.1},
        "auxiliary heads (deep supervision)": {"model.net.auxiliary": True},
        "distilled from twice the width": {
            "model.distillation": part("seg.distillation.Distillation", teacher="a teacher of twice the width")
        },
    }
    if data == "camvid":
        other = {"model.init_from": "the baseline on Shapes"}
        rows["begun with weights from Shapes"] = other
        rows["the same, encoder at a tenth of the rate"] = {**other, "model.encoder_lr": 0.1}
        larger = part("seg.data.transforms.RandomScaleCrop", height=360, width=480, scale=[0.75, 2.0])
        rows["loss at the masks' own size"] = {"data.resize_masks": False, "data.augment": [larger, FLIP]}
    return rows
