"""`train` and `features`: from pictures to weights."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.commands import (
    Bf16,
    DecideBy,
    Extractor,
    FeatureOutput,
    Follow,
    GroupBy,
    HalfFeatures,
    JpegScale,
    Mean,
    Scale,
    Seed,
    Setting,
    Side,
    Source,
    Std,
    Weights,
    Workers,
    announce,
    app,
)


class RecipeName(StrEnum):
    """How `train` fits."""

    ONE_CYCLE = "one-cycle"
    PAPER = "paper"


class Augmentation(StrEnum):
    """How pictures are varied by the one-cycle recipe."""

    NONE = "none"
    FLIP = "flip"
    STANDARD = "standard"
    STRONG = "strong"


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of class folders, of super-class folders, or a list file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted run there is resumed.")],
    recipe: Annotated[
        RecipeName, typer.Option(help="One cycle with the numbers below, or the paper's fine-tuning.")
    ] = RecipeName.ONE_CYCLE,
    open_blocks: Annotated[
        str, typer.Option(help="How many of the backbone's last blocks are fitted beside the heads: 0 to 4, or all.")
    ] = "0",
    online: Annotated[
        bool, typer.Option(help="Run a frozen backbone anew at each step: exact under augmentation, and slow.")
    ] = False,
    backbone: Extractor = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    feature_output: FeatureOutput = None,
    grouping: Annotated[
        str | None,
        typer.Option(help="taxonomy:NAME|FILE, folders, clusters:K or random:K; by default folders, else clusters."),
    ] = None,
    size: Side = None,
    jpeg_scale: JpegScale = Scale.REDUCED,
    features: Annotated[Path | None, typer.Option(help="Folder of the feature cache; by default OUT/features.")] = None,
    views: Annotated[int, typer.Option(help="Views of each picture in the feature cache.", min=1)] = 2,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the pictures.", show_default="40; 1,000 steps for heads alone", min=1),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures a step, over all processes.", show_default="128", min=1)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak of the one-cycle schedule.", show_default="0.12; 0.1 for heads alone")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="L2 penalty.", show_default="0.0005; 0.0001 for heads alone")
    ] = None,
    augmentation: Annotated[
        Augmentation | None,
        typer.Option(help="standard shifts, mirrors and cuts out; strong also warps.", show_default="standard"),
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Pictures a forward pass; a batch is accumulated from such parts.", min=1)
    ] = None,
    flat_weight: Annotated[
        float, typer.Option(help="Weight of the flat-softmax loss; the paper fits its heads apart.", min=0)
    ] = 1.0,
    group_weight: Annotated[float, typer.Option(help="Weight of the group-softmax loss.", min=0)] = 1.0,
    calibration: Annotated[
        float | None,
        typer.Option(help="Share of each class held out for `calibrate`.", show_default="0.1 to 0.2, by size", min=0),
    ] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of each class held out for choices.", show_default="0.05", min=0)
    ] = None,
    decide_by: DecideBy = None,
    outliers: Annotated[
        list[str] | None,
        typer.Option(
            help="Foreign pictures to fit with: a folder, a list file, `procedural` (made ones, the default where the "
            "backbone is frozen), or `none`; repeat for more."
        ),
    ] = None,
    outlier_share: Annotated[
        float | None,
        typer.Option(help="Foreign pictures a step, as a share of the batch size.", show_default="0.5", min=0.01),
    ] = None,
    outlier_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the loss on foreign pictures.", show_default="0.5; 0.2 for heads alone", min=0),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of a finished run on the same classes whose answers are learnt too.")
    ] = None,
    teacher_weight: Annotated[
        float, typer.Option(help="Share of the loss that the teacher has; the labels have the rest.", min=0, max=1)
    ] = 0.7,
    group_by: GroupBy = None,
    follow: Follow = Source.CORRECTED,
    setting: Setting = None,
    half_features: HalfFeatures = False,
    workers: Workers = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network with torch.compile: slow to start, then faster.")
    ] = False,
    bf16: Bf16 = False,
    seed: Seed = 0,
) -> None:
    """Fit a model on a labelled folder and export its bundle to OUT/bundle."""
    from training import reproduction
    from training.bundling.export import export as export_bundle
    from training.bundling.guarantee import minimum_count
    from training.commands import defaults, options
    from training.commands.first_calibration import calibrate_or_say
    from training.data.checks import read_checked
    from training.distributed import process_group, rank
    from training.fitting.run import RunConfig
    from training.fitting.train import train as train_network

    settings = reproduction.settings(follow.value, setting or ())
    blocks = options.open_blocks(open_blocks)
    on_features = blocks == 0 and not online
    as_paper = recipe is RecipeName.PAPER
    taught_by = options.teacher(teacher, on_features=on_features)
    sources = options.outlier_sources(outliers, defaults.outliers(paper=as_paper, on_features=on_features))
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "augmentation": augmentation and augmentation.value,
        "outlier_share": outlier_share,
        "outlier_weight": outlier_weight,
        "teacher_weight": teacher_weight if teacher else None,
    }
    common = {
        "flat_weight": flat_weight,
        "group_weight": group_weight,
        "micro_batch": micro_batch,
        "bf16": bf16,
        "compile": compiled,
        "seed": seed,
    }
    with process_group():
        name, start = options.starting_point(blocks, backbone, weights)
        graph, size = options.own_graph(name, start, size, mean=mean, std=std, output=feature_output)
        decides = options.decide_by(decide_by, defaults.decide_by(name, paper=as_paper, on_features=on_features))
        substitutes = settings.unreadable == "official"
        whole, seen = read_checked(data, substitutes=substitutes, seed=seed, warn=options.warn)
        held_out = options.shares(calibration, validation, defaults.shares(len(whole), paper=as_paper))
        # The paper draws pictures one by one.
        thumbnails = None if as_paper and group_by is None else seen.thumbnails
        # Whole series come near this number, and no recipe depends on a few pictures.
        count = round(len(whole) * (1 - sum(held_out)))
        if as_paper:
            numbers = options.paper(given, common, count, settings, on_features=on_features)
        else:
            rates = {"backbone_rate": defaults.backbone_rate(name)}
            numbers = options.one_cycle(given, common | rates, setting or (), count if on_features else None)
        side, load_side = options.sizes(size, name, start, whole, cropped=as_paper)
        config = RunConfig(
            data=data.resolve(),
            out=out,
            backbone=name,
            weights=start,
            open_blocks=blocks,
            online=online,
            grouping=grouping,
            size=side,
            load_size=load_side,
            features=features,
            # A picture that nothing is done to has one view.
            views=1 if numbers.augmentation == "none" else views,
            calibration=held_out[0],
            validation=held_out[1],
            recipe=numbers,
            settings=settings,
            half_features=half_features,
            outliers=sources,
            teacher=taught_by,
            decide_by=decides,
            group_by=group_by,
            jpeg_scale=jpeg_scale.value,
            graph=graph,
        )
        train_network(config, whole, thumbnails, calibration_needs=minimum_count(0.95, 0.95), workers=workers)
        first = rank() == 0
    if first:
        bundle = export_bundle(out, out / "bundle", name=out.resolve().name)
        announce(f"wrote {bundle.path}")
        calibrate_or_say(bundle.path, out / "calibration.txt")


@app.command()
def features(
    data: Annotated[Path, typer.Option(help="Folder of class folders, of super-class folders, or a list file.")],
    out: Annotated[Path, typer.Option(help="Folder of the cache; an interrupted one there is continued.")],
    backbone: Extractor = None,
    weights: Weights = None,
    mean: Mean = None,
    std: Std = None,
    feature_output: FeatureOutput = None,
    size: Side = None,
    jpeg_scale: JpegScale = Scale.REDUCED,
    views: Annotated[int, typer.Option(help="Views: as served, mirrored, and augmented from the third on.", min=1)] = 2,
    augmentation: Annotated[Augmentation, typer.Option(help="Of the third view on.")] = Augmentation.STANDARD,
    half_features: HalfFeatures = False,
    workers: Workers = None,
    bf16: Bf16 = False,
    seed: Seed = 0,
) -> None:
    """Extract the features of a data set once, for `train --features OUT` and `ablate`."""
    from training.commands import options
    from training.data.pixels import Pictures
    from training.data.sets import read_data_set
    from training.distributed import process_group, rank
    from training.fitting.extraction import Views, cached_features
    from training.weights.extractors import read_extractor

    with process_group():
        name, start = options.starting_point(0, backbone, weights)
        graph, size = options.own_graph(name, start, size, mean=mean, std=std, output=feature_output)
        pictures = read_data_set(data)
        side, _ = options.sizes(size, name, start, pictures, cropped=False)
        cached = cached_features(
            out,
            read_extractor(name, start, graph, side),
            Pictures(pictures, jpeg_scale.value),
            side,
            Views(views, augmentation=augmentation.value, seed=seed),
            bf16=bf16,
            half=half_features,
            workers=workers,
        )
        if rank() == 0:
            view_count, count, width = cached.shape
            announce(f"wrote {out}: {view_count} views of {count} pictures, {width} features each")
