"""Training: loss, optimiser, schedule, processes, checkpoints."""

from inrv.fields.fourier.training.checkpoint import Checkpoint
from inrv.fields.fourier.training.plan import Progress, RoundedWeight, Rounding, TrainingPlan, TrainingResult
from inrv.fields.fourier.training.processes import Processes, joined
from inrv.fields.fourier.training.trainer import train

__all__ = [
    "Checkpoint",
    "Processes",
    "Progress",
    "RoundedWeight",
    "Rounding",
    "TrainingPlan",
    "TrainingResult",
    "joined",
    "train",
]
