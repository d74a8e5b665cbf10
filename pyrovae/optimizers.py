"""The optimizers: torch's classes with their options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn

from pyrovae.contracts import Part
from pyrovae.contracts.tables import Table
from pyrovae.errors import UserError, check_flag, check_number, option


class Optimizer(Part):
    """One of torch's optimizers, with the options specific to it.

    Attributes:
        usual_weight_decay: torch's default weight decay for it.
    """

    usual_weight_decay: ClassVar[float] = 0.0

    @abstractmethod
    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        """Create the optimizer for these parameters.

        Args:
            parameters: All trained parameters.
            learning_rate: The learning rate.
            weight_decay: W of the class.
        """


@dataclass(frozen=True, kw_only=True)
class _Moments(Optimizer):
    """The options that Adam and AdamW share."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_below_one("beta1", self.beta1)
        _check_below_one("beta2", self.beta2)
        check_number("eps", self.eps)


@final
@dataclass(frozen=True, kw_only=True)
class Adam(_Moments):
    """Mean of past gradients over the root of that of their squares (torch.optim.Adam); weight decay W adds W w to the gradient.

    Args:
        beta1: Decay of the running mean of the gradient, at least 0 and below 1.
        beta2: Decay of the running mean of its square, at least 0 and below 1.
        eps: Added to the root, at least 0.

    Source: Kingma and Ba (2015), Adam: A Method for Stochastic Optimization.
    """

    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, learning_rate, (self.beta1, self.beta2), self.eps, weight_decay=weight_decay, fused=True
        )


@final
@dataclass(frozen=True, kw_only=True)
class AdamW(_Moments):
    """Adam (torch.optim.AdamW); weight decay W multiplies the weights by 1 - rate W at each step and is no part of the gradient.

    Args:
        beta1: Decay of the running mean of the gradient, at least 0 and below 1.
        beta2: Decay of the running mean of its square, at least 0 and below 1.
        eps: Added to the root, at least 0.

    Source: Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization.
    """

    usual_weight_decay = 0.01

    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters, learning_rate, (self.beta1, self.beta2), self.eps, weight_decay=weight_decay, fused=True
        )


@final
@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """Steps against the gradient, with or without momentum (torch.optim.SGD); weight decay W adds W w to the gradient.

    Args:
        momentum: Factor on the steps before, which are added to each; at least 0 and below 1.
        nesterov: Look ahead along the momentum; needs one above 0.

    Source: Sutskever, Martens, Dahl and Hinton (2013), On the importance of initialization and momentum in deep learning.
    """

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_below_one("momentum", self.momentum)
        if check_flag("nesterov", self.nesterov) and not self.momentum:
            raise UserError(
                "nesterov", True, "looks ahead along the momentum, and there is none", f"give {option('optimizer.momentum', 0.9)}"
            )

    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters, learning_rate, self.momentum, weight_decay=weight_decay, nesterov=self.nesterov, fused=True
        )


@final
@dataclass(frozen=True, kw_only=True)
class Adagrad(Optimizer):
    """The gradient over the root of the sum of its squares so far (torch.optim.Adagrad); weight decay W adds W w to the gradient.

    Args:
        eps: Added to the root, at least 0.

    Source: Duchi, Hazan and Singer (2011), Adaptive Subgradient Methods for Online Learning and Stochastic Optimization.
    """

    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("eps", self.eps)

    def build(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(parameters, learning_rate, weight_decay=weight_decay, eps=self.eps)


def _check_below_one(name: str, value: float) -> None:
    if check_number(name, value) >= 1:
        raise UserError(name, value, "needs a number of at least 0 and below 1")


OPTIMIZERS = Table("optimizer", Optimizer, "optimizers", {"adam": Adam, "adamw": AdamW, "sgd": Sgd, "adagrad": Adagrad})
