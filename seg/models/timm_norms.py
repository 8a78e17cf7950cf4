"""timm's batch norm with an activation behind it, made to take single values; apart, for importing timm is slow."""

import timm.layers
import torch.nn.functional as F
from torch import Tensor

from seg import apple


class BatchNormAct2d(timm.layers.BatchNormAct2d):  # type: ignore[misc]
    """Normalise by batch statistics, or by the running ones where a channel has one value only, then activate."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised and activated (B, C, H, W) maps."""
        if self.training and x.size(0) * x.size(2) * x.size(3) == 1:
            x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
            activated: Tensor = self.act(self.drop(x))
            return activated
        return super().forward(x.contiguous() if apple.careful(x.device) else x)  # type: ignore[no-any-return]
