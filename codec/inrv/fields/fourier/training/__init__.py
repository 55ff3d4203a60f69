"""Training of the network: loss, optimiser, schedule, processes, checkpoints."""

from inrv.support.extras import needed_for

with needed_for("training", "train"):  # `inrv.Checkpoint` is from here
    from inrv.fields.fourier.training.checkpoint import Checkpoint
    from inrv.fields.fourier.training.plan import (
        RoundedWeight,
        TrainingPlan,
        TrainingProgress,
        TrainingResult,
        WeightQuantisation,
    )
    from inrv.fields.fourier.training.processes import Processes
    from inrv.fields.fourier.training.trainer import train

__all__ = [
    "Checkpoint",
    "Processes",
    "RoundedWeight",
    "TrainingPlan",
    "TrainingProgress",
    "TrainingResult",
    "WeightQuantisation",
    "train",
]
