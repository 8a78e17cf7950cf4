"""Going on where an epoch had ended, alike whether epochs or steps limit the run."""

import pytorch_lightning as pl


def begin_next_epoch(trainer: pl.Trainer) -> None:
    """Begin the next epoch where a run goes on from the end of one; call it before the first epoch begins.

    With `max_steps` Lightning takes the epoch that has ended for one that is interrupted: it runs through it once more,
    without a batch, and from there on the samplers are told the epoch after the right one. Its loops are put to where
    they are in a run without that limit.
    """
    loop = trainer.fit_loop
    if loop.restarted_on_epoch_end:
        loop._restarting = loop.epoch_loop.restarting = False
        loop.update_restart_stage()
        loop.epoch_progress.increment_completed()
