"""The optimiser."""

import optax


def adam(*, learning_rate: float, b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam.

    Args:
      learning_rate: step size.
      b1: decay of the mean of the gradients.
      b2: decay of the mean of their squares.
      eps: added to the root of the second moment after bias correction. Keras adds its own before the correction,
        which amounts to `eps / sqrt(1 - b2**step)` here: 3.2e-6 in the first step for its 1e-7, falling to 1e-7
        within some thousand steps. The updates differ where gradients are that small.

    Returns:
      The gradient transformation.

    Reference:
      Kingma and Ba 2015, arXiv:1412.6980.
    """
    return optax.adam(learning_rate, b1=b1, b2=b2, eps=eps)
