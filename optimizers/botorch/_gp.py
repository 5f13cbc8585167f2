"""Gaussian processes for the objectives.

BoTorch's `SingleTaskGP`, or `MixedSingleTaskGP` where there are categories, with the
library's current priors, whose length scale grows with the dimension (Hvarfner, Hellsten and Nardi
2024, "Vanilla Bayesian optimization performs great in high dimensions"); one model an objective,
outcomes standardised, signs such that more is better.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

FIT_STEPS = 150  # of L-BFGS; few fits need more, and those gain nothing by it

# What torch raises on singular matrices (RuntimeError, LinAlgError) besides the libraries' own.
NUMERICAL = (ModelFittingError, NanError, NotPSDError, RuntimeError)


def fit_objectives(
    x: Tensor, y: Tensor, categories: Sequence[int], notes: list[str]
) -> list[SingleTaskGP]:
    """Fit one model to each column of `y`.

    :param x: unit coordinates, n x d, of completed trials.
    :param y: outcomes, n x m, more is better.
    :param categories: columns of `x` that are categorical.
    :param notes: what did not go as it should is appended.
    """
    models = []
    for column in range(y.shape[-1]):
        model = _model(x, y[:, column : column + 1], categories)
        models.append(_fitted(model, f"model of objective {column + 1}", notes))
    return models


def _model(x: Tensor, y: Tensor, categories: Sequence[int]) -> SingleTaskGP:
    return MixedSingleTaskGP(x, y, list(categories)) if categories else SingleTaskGP(x, y)


def _fitted(model: SingleTaskGP, what: str, notes: list[str]) -> SingleTaskGP:
    """Fit hyperparameters; where that fails keep those that the priors start from."""
    start = deepcopy(model.state_dict())
    try:
        fit_gpytorch_mll(
            ExactMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": FIT_STEPS}},
        )
    except NUMERICAL as error:
        model.load_state_dict(start)
        notes.append(f"{what}: not fitted, its prior's hyperparameters are used: {error}")
    model.eval()
    return model


def hyperparameters(model: SingleTaskGP) -> dict[str, Any]:
    """Return the model's parameters as JSON, constraints applied."""
    return {
        name.replace("raw_", ""): _rounded(constraint.transform(value) if constraint else value)
        for name, value, constraint in model.named_parameters_and_constraints()
    }


def _rounded(value: Tensor) -> Any:
    numbers = [float(f"{v:.6g}") for v in value.detach().flatten().tolist()]
    return numbers[0] if len(numbers) == 1 else numbers


def leave_one_out(model: SingleTaskGP) -> tuple[Tensor, Tensor]:
    """Predict each observation from the others with the hyperparameters of all.

    Closed form, Rasmussen and Williams (2006), equations 5.10 to 5.12.

    :return: means and standard deviations of the observations (noise included), n each, in the
        outcome's units.
    """
    with torch.no_grad():
        x, y = model.train_inputs[0], model.train_targets
        prior = model.likelihood(model.forward(x), x)
        covariance = prior.covariance_matrix  # pyright: ignore[reportAttributeAccessIssue]
        inverse = torch.linalg.inv(covariance)
        residual = inverse @ (y - prior.mean)
        variance = 1.0 / inverse.diagonal()
        mean = y - residual * variance
        scale = getattr(model, "outcome_transform", None)
        offset, width = (0.0, 1.0) if scale is None else (scale.means, scale.stdvs)
        return (mean * width + offset).flatten(), (variance.sqrt() * width).flatten()
