"""What a measurement was made on, and how much memory it took."""

import platform
import resource
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "ovseg")


def describe() -> dict[str, object]:
    """Processor, threads, memory, GPU and versions, for the record beside every figure."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(_meminfo("MemTotal"), 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far, where the system can (Linux; CUDA)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: torch.device) -> float:
    """Peak memory in 10^9 bytes: of the whole process on a CPU, of PyTorch's tensors on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        if names:
            return names[0]
    return platform.processor()


def _meminfo(field: str) -> float:
    info = Path("/proc/meminfo")
    if not info.exists():
        return float("nan")
    line = next(line for line in info.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e9
