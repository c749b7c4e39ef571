"""Refusing a model of another package that breaks the contract, before a run promises anything with it."""

from functools import lru_cache

from terrycloth.experiments.model_check.check_model import check_model
from terrycloth.models.errors import UserError


@lru_cache
def refuse_broken_model(model: str) -> None:
    """Raise UserError if a model fails a check: a promise rests on its gradients being bounded one by one.

    model: package.module:Class, or the name of an entry point. A model that passed is not checked again.
    """
    for outcome in check_model(model):
        if not outcome.passed:
            raise UserError(
                f"--model {model} breaks the contract of models ({outcome.check}; {outcome.reason}): "
                f"terry check model {model} shows every check"
            )
