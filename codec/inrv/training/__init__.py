"""Training: loss, optimiser, schedule, stopping."""

from inrv.training.trainer import Progress, TrainingPlan, TrainingResult, psnr_of, train

__all__ = ["Progress", "TrainingPlan", "TrainingResult", "psnr_of", "train"]
