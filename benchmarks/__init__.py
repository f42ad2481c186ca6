"""Side-by-side measurements. Results lie in ``benchmarks/results``, with the device they were taken on."""
