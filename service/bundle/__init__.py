"""The bundle: the directory that training writes and the service serves.

    model.onnx          the graph, one file
    bundle.json         Manifest
    calibration.json    Calibration; absent until calibrated
    card.md, card.png   the same to read, with the score distributions; the picture is optional
    detectors.npz       optional, for evaluation
    fitted.npz          optional: hashes of the pictures that were fitted on, which calibrate refuses; not served
    canary/             encoded images, and expected.json with the outputs expected of them

A bundle is whole or absent: it is written beside its place and renamed. What can change a score is hashed, and
reading refuses what does not fit together with a sentence that says what to do.

Begin with `schema.py`, which has every field; `reading.py` and `writing.py` hold the promises above. Import the names
below from `service.bundle` itself.
"""

from service.bundle.reading import Bundle, read_bundle
from service.bundle.schema import (
    CANARY_FOLDER,
    CARD_FILE,
    CARD_PICTURE_FILE,
    FITTED_FILE,
    KNOWN_PARTS,
    MOS,
    WATCHED_FILES,
    Calibration,
    Canary,
    Decision,
    Group,
    GroupThreshold,
    InputSpec,
    LetIn,
    LetInByScale,
    Manifest,
    OperatingPoint,
    ReferenceScores,
    StatisticPart,
    Strangers,
    StrangerSet,
    sha256_hex,
)
from service.bundle.writing import write_bundle, write_calibration

__all__ = [
    "CANARY_FOLDER",
    "CARD_FILE",
    "CARD_PICTURE_FILE",
    "FITTED_FILE",
    "KNOWN_PARTS",
    "MOS",
    "WATCHED_FILES",
    "Bundle",
    "Calibration",
    "Canary",
    "Decision",
    "Group",
    "GroupThreshold",
    "InputSpec",
    "LetIn",
    "LetInByScale",
    "Manifest",
    "OperatingPoint",
    "ReferenceScores",
    "StatisticPart",
    "StrangerSet",
    "Strangers",
    "read_bundle",
    "sha256_hex",
    "write_bundle",
    "write_calibration",
]
