"""Training: loss, optimiser, schedule, processes, checkpoints."""

from inrv.training.checkpoint import Checkpoint
from inrv.training.plan import Progress, RoundedWeight, Rounding, TrainingPlan, TrainingResult, psnr_of
from inrv.training.processes import Processes, joined
from inrv.training.trainer import train

__all__ = [
    "Checkpoint",
    "Processes",
    "Progress",
    "RoundedWeight",
    "Rounding",
    "TrainingPlan",
    "TrainingResult",
    "joined",
    "psnr_of",
    "train",
]
