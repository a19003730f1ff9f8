"""Learning-rate schedules."""

from kdrun.factors.contract import Family, LearningRateSchedule

FAMILY = Family(
    name="lr_schedule",
    contract=LearningRateSchedule,
    key="student.lr_schedule",
    default="constant",
    title="how the learning rate moves during training",
)
