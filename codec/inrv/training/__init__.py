"""Training: loss, optimiser, schedule, stopping, checkpoints."""

from inrv.training.checkpoint import Checkpoint
from inrv.training.trainer import Progress, TrainingPlan, TrainingResult, psnr_of, train

__all__ = ["Checkpoint", "Progress", "TrainingPlan", "TrainingResult", "psnr_of", "train"]
