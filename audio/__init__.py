"""Pure functions on sound: decode, inspect, trim, resample, effects, join and encode. No web, no database, no torch.

Sound travels as one-dimensional float32 numpy arrays in [-1, 1] beside a sample rate in Hz, unless a docstring says otherwise.
"""
