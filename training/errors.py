"""What can go wrong while making or judging a bundle, as sentences that name the thing and the remedy.

service.errors.MosGuardError
└── TrainingError
    ├── DataError           a data set, list file or cache that cannot be used
    ├── GroupingError       a grouping that does not fit the classes
    ├── UnknownBackbone     a backbone name that is not in the table
    ├── CheckpointError     weights that are missing, damaged or of another shape
    ├── GraphError          an ONNX graph that cannot be a backbone
    ├── ExportError         the exported model differs from the trained one
    ├── CalibrationError    too few or unusable calibration scores
    ├── ScoringError        the model could not be run over pictures
    └── SettingError        a setting or combination of options that does not exist
"""

from service.errors import MosGuardError


class TrainingError(MosGuardError):
    """Making or judging a bundle failed."""


class DataError(TrainingError):
    """A data set, list file or cache cannot be used."""


class GroupingError(TrainingError):
    """A grouping does not fit the classes."""


class UnknownBackbone(TrainingError):
    """There is no backbone of that name."""


class CheckpointError(TrainingError):
    """Weights are missing, damaged or of another shape."""


class GraphError(TrainingError):
    """An ONNX graph cannot be a backbone."""


class ExportError(TrainingError):
    """The exported model does not compute what the trained one does."""


class CalibrationError(TrainingError):
    """The calibration scores are too few or unusable."""


class ScoringError(TrainingError):
    """The model could not be run over pictures."""


class SettingError(TrainingError):
    """A setting, or a combination of options, does not exist."""
