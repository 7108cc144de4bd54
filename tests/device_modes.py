"""Watching what a program would do to an accelerator, on a machine that has none."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

aten = torch.ops.aten

#: Operations whose result, or whose result's shape, the host must wait for.
WAITING = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "nonzero_static",
    "masked_select",
    "allclose",
    "equal",
    "_unique",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "unique_dim_consecutive",
    "bincount",
    "repeat_interleave",
}
INDEXING = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}
#: Operations that launch nothing.
FREE = {"empty", "empty_like", "empty_strided", "detach", "alias", "lift_fresh"}


class HostWait(AssertionError):
    """The host would wait for the device."""


class Watch(TorchDispatchMode):
    """Counts kernels by name; raises HostWait where the host would wait for ``device``."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device, self.kernels = device, Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.split("::")[1]
        waits = name in WAITING or (name in INDEXING and _has_bool_index(args))
        if waits and any(leaf.device.type == self.device for leaf in _tensors((args, kwargs))):
            raise HostWait(f"{name} makes the host wait for the device.")
        if not func.is_view and name not in FREE:
            self.kernels[name] += 1
        return func(*args, **(kwargs or {}))

    @property
    def launches(self) -> int:
        """Kernels launched so far."""
        return sum(self.kernels.values())


def _tensors(tree):
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def _has_bool_index(args) -> bool:
    return any(isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])


class OneDevice(TorchDispatchMode):
    """Refuses operations that mix devices or read data back; counts the uploads of constants to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        devices = {leaf.device.type for leaf in _tensors((args, kwargs))}
        out = func(*args, **kwargs)
        results = {leaf.device.type for leaf in _tensors(out)}
        if (devices, results) == ({"cpu"}, {"cuda"}):
            self.uploads += 1
        elif len(devices) > 1 or (devices and results and devices != results):
            raise AssertionError(f"{func} mixes or crosses devices: {sorted(devices)} -> {sorted(results)}.")
        return out


READING = {torch.Tensor.item, torch.Tensor.__float__, torch.Tensor.__int__, torch.Tensor.__bool__}


class _Reroute(TorchFunctionMode):
    """Sends the Python calls that would ask a missing driver for a device guard to the operators below them."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.__getitem__:
            return _get(*args)
        if func is torch.Tensor.__setitem__:
            return _set(*args)
        if func is torch.Tensor.to:
            return _to(*args, **kwargs)
        if func is torch.Tensor.copy_:
            return aten.copy_.default(*args, **kwargs)
        if func in READING:
            return aten._local_scalar_dense.default(args[0])
        if func is torch.Tensor.__invert__:
            return aten.bitwise_not.default(*args)
        if func is torch.Tensor.contiguous:
            x = args[0]
            return x if x.is_contiguous() else aten.clone.default(x, memory_format=torch.contiguous_format)
        if func is torch.as_tensor and isinstance(args[0], torch.Tensor):
            return _to(args[0], **kwargs)
        return func(*args, **kwargs)


def _to(x, *args, **kwargs):
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for arg in args:
        if isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, (torch.device, str)):
            device = torch.device(arg)
        elif isinstance(arg, torch.Tensor):
            device, dtype = arg.device, arg.dtype
    if device is not None and torch.device(device).type == x.device.type:
        device = None
    if dtype == x.dtype:
        dtype = None
    return x if device is None and dtype is None else aten._to_copy.default(x, dtype=dtype, device=device)


def _get(x, key):
    keys = key if isinstance(key, tuple) else (key,)
    dim, gathered = 0, []
    missing = x.dim() - sum(k is not None and k is not Ellipsis for k in keys)
    for k in keys:
        if k is Ellipsis:
            dim += missing
        elif k is None:
            x, dim = aten.unsqueeze.default(x, dim), dim + 1
        elif isinstance(k, slice):
            x, dim = aten.slice.Tensor(x, dim, k.start, k.stop, k.step or 1), dim + 1
        elif isinstance(k, int):
            x = aten.select.int(x, dim, k)
        else:
            gathered.append((dim, k if isinstance(k, torch.Tensor) else torch.tensor(k, device=x.device)))
            dim += 1
    if not gathered:
        return x
    index = [None] * (gathered[-1][0] + 1)
    for at, k in gathered:
        index[at] = k
    return aten.index.Tensor(x, index)


def _set(x, key, value):
    keys = key if isinstance(key, tuple) else (key,)
    value = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=x.dtype, device=x.device)
    if all(isinstance(k, torch.Tensor) for k in keys):
        aten.index_put_.default(x, list(keys), value)
    else:
        aten.copy_.default(_get(x, key), value)


@contextmanager
def fake_cuda(default: str | None = "cuda"):
    """Tensors without data on a device called cuda; ``default`` is where factories put them."""
    before = torch.get_default_device()
    with FakeTensorMode(allow_non_fake_inputs=False), Watch("cuda"), OneDevice() as traffic, _Reroute():
        try:
            if default is not None:
                torch.set_default_device(default)
            yield traffic
        finally:
            torch.set_default_device(before)
