"""What a training run needs on each GPU, from its configuration alone: no weights are read, and no memory is taken."""

from .estimate import TrainingPlan, measure_step, plan_training
from .step_config import StepConfig

__all__ = ["StepConfig", "TrainingPlan", "measure_step", "plan_training"]
