"""Which detectors run on a bundle, what each needs beside the served model's outputs, and why others are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle
from training.data.sets import DataSet
from training.detectors import DETECTORS, FitData, Head, Outputs, Pass, Statistics
from training.detectors.fitted import FILE_NAME, read_detectors
from training.errors import DataError, TrainingError
from training.reproduction import Settings, restored


@dataclass(frozen=True)
class DetectorSet:
    """The detectors of one evaluation and what they need."""

    names: tuple[str, ...]
    head: Head
    statistics: Mapping[str, Statistics]
    passes: Mapping[str, Pass]  # {array: pictures (N, H, W, 3) -> array}, for what the served model does not give

    def outputs(self, values: Mapping[str, NDArray[Any]]) -> Outputs:
        """What detectors read, from the arrays of one set."""
        return Outputs(
            values["features"],
            values["others_scores"],
            values["flat_logits"],
            self.head,
            values.get("perturbed_logits"),
        )

    def score(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """{detector: scores (N,)} of the arrays of some pictures."""
        outputs = self.outputs(values)
        return {
            name: values[name] if name in self.passes else DETECTORS[name].score(outputs, self.statistics.get(name, {}))
            for name in self.names
        }

    def with_official_templates(
        self, values: Mapping[str, NDArray[Any]], labels: NDArray[np.int64], settings: Settings
    ) -> DetectorSet:
        """KL matching as the authors run it, with templates of the ID test pictures themselves (defects D9 and B4)."""
        fit = DETECTORS["kl_matching"].fit
        if settings.kl_templates != "official" or "kl_matching" not in self.names or fit is None:
            return self
        outputs = self.outputs(values)
        templates = fit(FitData(outputs, labels, outputs, labels, settings.kl_templates))
        return replace(self, statistics={**self.statistics, "kl_matching": templates})


def choose(
    bundle: Bundle, detectors: Sequence[str], settings: Settings, id_data: DataSet, fit_on: Path | None
) -> tuple[DetectorSet, list[str]]:
    """The detectors that run, and a sentence for each that was left out.

    Raises DataError for a detector that does not exist, and for one that cannot run unless all were asked for.
    """
    unknown = [name for name in detectors if name not in DETECTORS]
    if unknown or not detectors:
        raise DataError(f"There is no detector {', '.join(unknown) or 'named'}; choose among {', '.join(DETECTORS)}.")
    head, statistics = read_detectors(bundle.path)
    left_out: dict[str, str] = {}
    passes: dict[str, Pass] = {}
    for name in detectors:
        try:
            if name == "odin" or (name == "mahalanobis" and settings.mahalanobis != "corrected"):
                passes |= _gradient_pass(name, bundle, head, statistics.get(name, {}), settings, id_data, fit_on)
            else:
                _check_statistics(name, bundle, statistics.get(name, {}), settings)
        except TrainingError as error:
            left_out[name] = f"{name} cannot run: {error}"
    if left_out and set(detectors) != set(DETECTORS):
        raise DataError(next(iter(left_out.values())))
    names = tuple(name for name in detectors if name not in left_out)
    return DetectorSet(names, head, statistics, passes), list(left_out.values())


def _gradient_pass(
    name: str,
    bundle: Bundle,
    head: Head,
    statistics: Statistics,
    settings: Settings,
    id_data: DataSet,
    fit_on: Path | None,
) -> dict[str, Pass]:
    """The pass of a detector that needs gradients. Raises TrainingError where it cannot run."""
    if find_spec("torch") is None:
        raise DataError("it needs gradients; install torch (extra `training`) or leave it out.")
    from training.gradients import network as rebuilt

    network = rebuilt.rebuild(bundle, head)
    if name == "odin":
        chosen = "epsilon" in statistics and _exported(bundle).odin_epsilon == "corrected"
        if settings.odin_epsilon == "corrected" and not chosen:
            raise DataError(
                f"the bundle's {FILE_NAME} has no step chosen on held-out pictures; "
                "export it with --setting odin_epsilon=corrected, or use --setting odin_epsilon=paper."
            )
        return {"perturbed_logits": rebuilt.odin_pass(network, statistics, settings.odin_epsilon)}
    if fit_on is None:
        raise DataError("as the paper has it, it is fitted on pictures; name a labelled set with --fit.")
    return {"mahalanobis": rebuilt.mahalanobis_pass(network, bundle, fit_on, id_data, settings)}


def _check_statistics(name: str, bundle: Bundle, statistics: Statistics, settings: Settings) -> None:
    """Raise DataError where the bundle does not hold what the detector learnt, or holds what other settings made."""
    if DETECTORS[name].fit is not None and not statistics:
        raise DataError(f"the bundle's {FILE_NAME} has no statistics for it; export the bundle again, or leave it out.")
    wanted, exported = settings.kl_templates, _exported(bundle).kl_templates
    # At export both others are of held-out pictures by true class; the authors' own are made from the ID test set.
    if name == "kl_matching" and wanted != "official" and (wanted == "paper") != (exported == "paper"):
        raise DataError(f"the bundle's templates are `{exported}`; export it with --setting kl_templates={wanted}.")


def _exported(bundle: Bundle) -> Settings:
    """The settings that the bundle's statistics were fitted with."""
    said = bundle.manifest.training.get("settings", {})
    return restored({name: str(source) for name, source in said.items()}) if isinstance(said, dict) else Settings()
