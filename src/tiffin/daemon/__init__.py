"""tiffind's composition root: configuration, wiring, signals, re-adoption."""
