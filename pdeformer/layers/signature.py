"""The signature of an nnx module: that of its `__init__`, which the metaclass of nnx hides from `inspect`."""

import inspect
from typing import Any


class InitSignature:
    """Class attribute `__signature__`: the parameters of `__init__`, or of `__call__` for an instance."""

    def __get__(self, instance: Any, owner: Any) -> inspect.Signature:
        """Return the signature without `self`."""
        signature = inspect.signature(owner.__init__ if instance is None else owner.__call__)
        parameters = list(signature.parameters.values())[1:]
        returns = owner if instance is None else signature.return_annotation
        return signature.replace(parameters=parameters, return_annotation=returns)
