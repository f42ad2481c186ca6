"""Everything that only a GPU can tell, in one command: ``python -m benchmarks.full_size``; ``--rehearse`` tries it small on a CPU.

With F5TTS_v1_Base's architecture and seeded weights, in this order: does the engine still agree with upstream's sampler, alone and in a
batch; what does one batch spend its time on; how long does a step take; how much sound a second, beside upstream's one by one on the same
card in the same run; what of that remains through the service. Each part is written as soon as it is measured, so that whoever runs out of
time keeps what there is.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.inference import RESULTS, device_name, table
from inference.mel import HOP_LENGTH, SAMPLE_RATE

FLOPS_A_FRAME = 0.5e9
"""Of F5TTS_v1_Base for one frame in one pass, roughly: it leaves out what attention costs more for long items."""
CHUNK_S = 4.0
"""Mean length of the chunks of `workload.TEXTS`."""
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2, "float16": 2e-2}


def parity(options: argparse.Namespace) -> dict[str, Any]:
    """The largest difference of mel frames to upstream's sampler (float32, one item), and of a batch to its items one by one."""
    import torch
    from f5_tts.model import CFM

    from benchmarks import workload
    from inference.engine import SampleItem

    found: dict[str, Any] = {}
    for dtype in ("float32", "auto"):
        with tempfile.TemporaryDirectory() as folder:
            workload.write_model(Path(folder) / options.arch, workload.ARCHITECTURES[options.arch])
            synthesizer = workload.make_synthesizer(Path(folder) / options.arch, options.device, dtype)
            sampler = synthesizer.pool.load(synthesizer.registry.default).sampler
        name = str(sampler.dtype).removeprefix("torch.")
        if name in found:
            continue
        generator = torch.Generator().manual_seed(1)
        items = [
            SampleItem(
                reference=torch.randn(reference, 100, generator=generator) - 3,
                tokens=torch.randint(1, 200, (letters,), generator=generator).tolist(),
                frames=reference + frames,
                seed=seed,
                steps=7,
            )
            for seed, (reference, letters, frames) in enumerate(((200, 60, 300), (90, 20, 60), (260, 90, 420), (150, 40, 200)))
        ]
        alone = [sampler.sample([item])[0].float().cpu() for item in items]
        together = [mel.float().cpu() for mel in sampler.sample(items)]
        worst = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(alone, together, strict=True))
        found[name] = {"batch_to_alone": worst, "most": TOLERANCE[name]}
        if name == "float32":
            upstream = CFM(transformer=sampler.transformer, mel_spec_kwargs={"mel_spec_type": "vocos"}).to(sampler.device)
            beside = max(_beside(upstream, item, mel) for item, mel in zip(items, alone, strict=True))
            found[name]["alone_to_upstream"], worst = beside, max(worst, beside)
        found[name]["agrees"] = worst <= TOLERANCE[name]
    return found


def _beside(upstream: Any, item: Any, mel: Any) -> float:
    """Largest difference of ``mel`` to what upstream's sampler makes of the item, relative to its largest value."""
    import torch

    device = next(upstream.parameters()).device
    made, _ = upstream.sample(
        item.reference[None].to(device), torch.tensor([list(item.tokens)], device=device), item.frames, steps=item.steps,
        cfg_strength=item.cfg_strength, sway_sampling_coef=item.sway_coefficient, seed=item.seed,
    )  # fmt: skip
    expected = made[0].float().cpu()
    return float((mel - expected).abs().max() / expected.abs().max())


def profile(options: argparse.Namespace) -> dict[str, Any]:
    """What a batch of the largest size spends its time on: the operators that take most, and the share in which the device idled."""
    import torch
    from torch.profiler import ProfilerActivity

    from benchmarks import workload

    cuda = options.device.startswith("cuda")
    with tempfile.TemporaryDirectory() as folder:
        workload.write_model(Path(folder) / options.arch, workload.ARCHITECTURES[options.arch])
        synthesizer = workload.make_synthesizer(Path(folder) / options.arch, options.device)
        items = [work.item for work in workload.works(synthesizer, 2 if options.rehearse else 16, steps=7)]
        synthesizer.synthesize(items)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        began = time.perf_counter()
        with torch.profiler.profile(activities=activities) as profiler:
            synthesizer.synthesize(items)
        seconds = time.perf_counter() - began
    events = profiler.key_averages()
    spent: Callable[[Any], float] = (lambda e: e.self_device_time_total) if cuda else (lambda e: e.self_cpu_time_total)
    busy = sum(map(spent, events)) / 1e6
    top = sorted(events, key=spent, reverse=True)[:15]
    return {
        "items": len(items),
        "seconds": round(seconds, 3),
        "device_idle_share": round(max(0.0, 1 - busy / seconds), 3),
        "operators": [{"name": e.key[:80], "calls": e.count, "share": round(spent(e) / 1e6 / max(busy, 1e-9), 3)} for e in top],
    }


def step(options: argparse.Namespace) -> list[dict[str, Any]]:
    """How long one step of the sampler takes, for batches of so many items of so many frames: what is left of it for a single short item is
    the floor, which decides whether items should join between steps (`benchmarks.scheduler_model`) and what a captured graph can save.
    """
    import torch

    from benchmarks import workload
    from inference.engine import SampleItem

    few, many, rounds = (1, 2, 1) if options.rehearse else (4, 16, 5)
    sizes, lengths = ((1, 2), (100, 200)) if options.rehearse else ((1, 2, 4, 8, 16, 32), (200, 400, 800, 1600))
    with tempfile.TemporaryDirectory() as folder:
        workload.write_model(Path(folder) / options.arch, workload.ARCHITECTURES[options.arch])
        synthesizer = workload.make_synthesizer(Path(folder) / options.arch, options.device)
        sampler = synthesizer.pool.load(synthesizer.registry.default).sampler

        def seconds(size: int, frames: int, steps: int) -> float:
            items = [
                SampleItem(
                    reference=torch.full((frames // 3, 100), -3.0), tokens=[1] * (frames // 8), frames=frames, seed=seed, steps=steps
                )
                for seed in range(size)
            ]
            began = time.perf_counter()
            # To read what came out waits for the device.
            [mel.cpu() for mel in sampler.sample(items)]
            return time.perf_counter() - began

        rows = []
        for size in sizes:
            for frames in lengths:
                seconds(size, frames, few)  # the first of a shape takes longer
                taken = [(seconds(size, frames, many) - seconds(size, frames, few)) / (many - few) for _ in range(rounds)]
                rows.append({"items": size, "frames": frames, "step_ms": round(1000 * statistics.median(taken), 3)})
    return rows


def engine(options: argparse.Namespace, steps: int) -> dict[str, Any]:
    """The table of `benchmarks.inference` at so many steps, with the arithmetic that the model does a second."""
    from benchmarks import inference, workload

    asked = argparse.Namespace(
        arch=options.arch, device=options.device, dtype="auto", steps=steps, concurrency=options.concurrency,
        rounds=1 if options.rehearse else 3, minutes=options.minutes, threads=None,
    )  # fmt: skip
    result = inference.run(asked)
    if options.arch == "base":
        # A chunk's reference is computed with it; two passes a step for guidance.
        frames_a_second = SAMPLE_RATE / HOP_LENGTH * (1 + workload.REFERENCE_SECONDS / CHUNK_S)
        for row in result["rows"]:
            row["tflop_per_s"] = round(row["audio_s_per_s"] * frames_a_second * 2 * steps * FLOPS_A_FRAME / 1e12, 1)
    return result


def service(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of `benchmarks.http` for the whole service on the device."""
    from benchmarks import http

    os.environ["VOXIFY_DEVICE"] = options.device
    return http.run(options.arch, requests=4 if options.rehearse else 256, concurrency=options.concurrency)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="small, a few minutes on a CPU: that it works")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=3, help="for the table of each number of steps")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.arch, options.concurrency = "base", [1, 8, 32, 64]
    steps: tuple[int, ...] = (16, 7, 32)
    if options.rehearse:
        options.arch, options.concurrency, steps, options.device = "small", [1, 2], (7,), "cpu"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from inference import threads

    threads.configure_openmp()
    name = device_name(options.device)
    slug = "".join(c if c.isalnum() else "-" for c in name.split(",")[0].lower())
    file = options.output / f"full-size-{slug}.json"
    options.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"device": name, "architecture": options.arch, "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")}
    parts: list[tuple[str, Callable[[], Any]]] = [("parity", lambda: parity(options)), ("profile", lambda: profile(options))]
    parts += [("step", lambda: step(options))]
    parts += [(f"engine, {number} steps", lambda number=number: engine(options, number)) for number in steps]  # type: ignore[misc]
    parts += [("service", lambda: service(options))]
    failed = False
    for part, measure in parts:
        began = time.monotonic()
        try:
            found[part] = measure()
        except Exception as error:  # noqa: BLE001 - the time on the card is short: the other parts are still worth it
            found[part], failed = {"failed": f"{type(error).__name__}: {error}"}, True
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        rows = found[part].get("rows") if isinstance(found[part], dict) else found[part]
        print(table(rows) if rows else json.dumps(found[part], indent=1))
    print(f"written to {file}")
    sys.exit(failed or not all(dtype["agrees"] for dtype in found["parity"].values()))


if __name__ == "__main__":
    main()
