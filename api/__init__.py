"""The API tier: users, samples, clones, jobs and files over HTTP. It reaches the inference service over HTTP alone."""
