"""What the models run on."""

from __future__ import annotations

from pydantic import BaseModel


class DeviceResult(BaseModel):
    """``GET /device``: `device` as PyTorch calls it; memory in bytes, null where it is the machine's own."""

    device: str
    name: str
    dtype: str
    memory_total: int | None = None
    memory_free: int | None = None


def describe(device: str, dtype: str) -> DeviceResult:
    """What `device` is, asked of its driver. Raises RuntimeError where the driver no longer answers."""
    import torch

    if not device.startswith("cuda"):
        return DeviceResult(device=device, name="processor", dtype=dtype)
    free, total = torch.cuda.mem_get_info(device)
    return DeviceResult(device=device, name=torch.cuda.get_device_name(device), dtype=dtype, memory_total=total, memory_free=free)
